"""What a client is called: the name under which rules and reports know it, from the User-Agent it sends.

A claim, like all that a client says of itself. The version is no part of the name: a budget for each tool would begin anew with every
release. Names on the wire: RFC 9110, 10.1.5 (``product/version``), and each client's own as recorded (docs/wire.md, "Attribution").
"""

from functools import lru_cache
from types import MappingProxyType
from typing import Final

MAX_NAME_CHARS: Final = 64

KNOWN_AS: Final = MappingProxyType(
    {"claude-cli": "claude-code", "codex": "codex", "geminicli": "gemini-cli", "gemini-cli": "gemini-cli"}
)
"""Programs that sign otherwise than people call them, in small letters; also with a variant behind (``codex_exec``, ``GeminiCLI-tui``)."""


def client_of(user_agent: str) -> str:
    """``claude-code`` for ``claude-cli/2.1 (external, cli)``: the product that is named first, without its version; empty when none.

    What follows the slash without a digit is part of the name: ``OpenAI/Python 3.54`` is ``OpenAI/Python``.
    """
    return _named(user_agent.partition(" ")[0][:MAX_NAME_CHARS])


@lru_cache(maxsize=1_024)
def _named(product: str) -> str:
    if not product.isascii() or not product.isprintable():
        return ""
    name, *rest = product.split("/")
    lowered = name.lower()
    for known, called in KNOWN_AS.items():
        if lowered == known or lowered.startswith((f"{known}_", f"{known}-")):
            return called
    for part in rest:
        if not part.removeprefix("v")[:1].isalpha():
            break
        name += f"/{part}"
    return name
