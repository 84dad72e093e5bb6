"""The command as a user calls it, and a ledger to read."""

from report.conftest import Tool, clock, path, tool

__all__ = ("Tool", "clock", "path", "tool")
