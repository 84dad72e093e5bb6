"""Framers and decoders: bytes in any split in, whole elements out. They know no provider."""

MAX_ELEMENT_BYTES = 8 * 1024 * 1024
"""The largest single stream element kept: 40× the largest recorded one (images as base64 in an event)."""
