"""Tollkeeper: a sidecar that meters, prices, records and enforces AI traffic.

Each folder is one stage of the road of a call (docs/architecture.md) and imports only stages above it.
"""

__version__ = "0.1.0"
