"""A provider that is not there: speaks the wire of OpenAI, Anthropic and Gemini over TLS on loopback, and keeps its own bill."""

from .authority import HOSTS, Authority
from .background import background_provider
from .bill import Billed, Bills, SeenRequest
from .script import Cut, Script
from .server import FakeProvider

__all__ = ["HOSTS", "Authority", "Billed", "Bills", "Cut", "FakeProvider", "Script", "SeenRequest", "background_provider"]
