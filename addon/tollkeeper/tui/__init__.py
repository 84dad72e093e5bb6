"""Screens for terminals."""
