"""Usage to dollars: price book, overlays, ceilings, token counts where a provider said nothing."""
