"""Ledger rows to tables, JSON and CSV."""
