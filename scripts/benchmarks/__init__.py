"""Benchmarks of the proxy against plain mitmproxy: run ``scripts/bench``."""
