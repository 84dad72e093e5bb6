"""The door: which hosts are AI providers, the name-constrained CA, what a client needs to trust it."""
