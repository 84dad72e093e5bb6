"""``tollkeeper mcp``: the caller's budgets as a tool for agents, over the Model Context Protocol's stdio transport.

modelcontextprotocol.io/specification: JSON-RPC 2.0, one message a line; ``initialize``, ``tools/list``, ``tools/call``, ``ping``.
"""

import json
import os
import sys
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import click

from tollkeeper import __version__

from .process import ask_answer, read_state, state_in

VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Revisions of the protocol in which these four methods are the same; the newest is offered where the client's is none of them."""
MAX_LINE_CHARS: Final = 1_000_000
TOOL: Final = {
    "name": "budget",
    "description": (
        "What may still be spent on AI calls: each budget over this machine's caller with its amount, what is spent and held,"
        " what is left and when it resets. Ask before starting long or expensive work."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {"model": {"type": "string", "description": "Only the budgets that cover this model."}},
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": True, "openWorldHint": False},
}
type Look = Callable[[str], tuple[str, bool]]
_PARSE_ERROR, _NO_METHOD, _BAD_PARAMETERS = -32_700, -32_601, -32_602


@click.command()
def command() -> None:
    """Serve the caller's budgets to agents as an MCP tool, on stdin and stdout.

    Example: `claude mcp add tollkeeper -- tollkeeper mcp`
    """
    serve(sys.stdin, sys.stdout, look_at_proxy)


def serve(source: TextIO, sink: TextIO, look: Look) -> None:
    """Answer until ``source`` ends; ``look`` gets a model (or "") and gives the page, and whether that failed."""
    while line := source.readline(MAX_LINE_CHARS):
        if not line.strip():
            continue
        try:
            message: Any = json.loads(line)
        except (ValueError, RecursionError):
            answer: dict[str, Any] | None = _error(None, _PARSE_ERROR, "not JSON")
        else:
            answer = answer_to(message, look) if isinstance(message, dict) else _error(None, _PARSE_ERROR, "not an object")
        if answer is not None:
            sink.write(json.dumps(answer, ensure_ascii=False) + "\n")
            sink.flush()


def answer_to(message: dict[str, Any], look: Look) -> dict[str, Any] | None:
    """The answer to one message; None to a notification."""
    if "id" not in message:
        return None
    number, method, parameters = message["id"], message.get("method"), message.get("params")
    parameters = parameters if isinstance(parameters, dict) else {}
    if method == "initialize":
        asked = parameters.get("protocolVersion")
        result: dict[str, Any] = {
            "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "tollkeeper", "version": __version__},
        }
    elif method == "ping":
        result = {}
    elif method == "tools/list":
        result = {"tools": [TOOL]}
    elif method == "tools/call":
        if parameters.get("name") != TOOL["name"]:
            return _error(number, _BAD_PARAMETERS, "there is one tool: budget")
        arguments = parameters.get("arguments")
        model = arguments.get("model") if isinstance(arguments, dict) else None
        text, failed = look(str(model) if model else "")
        result = {"content": [{"type": "text", "text": text}], "isError": failed}
    else:
        return _error(number, _NO_METHOD, f"unknown method {str(method)[:60]!r}")
    return {"jsonrpc": "2.0", "id": number, "result": result}


def look_at_proxy(model: str, environ: Mapping[str, str] = os.environ) -> tuple[str, bool]:
    """The page of the proxy that calls from here go through, and whether that failed.

    What ``tollkeeper run`` and ``env`` exported comes first, with the password that says whose calls these are; then the proxy that stands.
    """
    query = f"?{urllib.parse.urlencode({'model': model})}" if model else ""
    places = [place for place in (state_in(environ), read_state()) if place is not None]
    for place in places:
        found = ask_answer(place, f"/v1/budget{query}")
        if found is not None:
            status, text = found
            return (text, False) if status == 200 else (_reason(text), True)
    if places:
        return "the proxy did not answer; see `tollkeeper doctor`", True
    return "tollkeeper is not running; start it with `tollkeeper start`", True


def _reason(text: str) -> str:
    """The words of an error page."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "the proxy does not tell; see `tollkeeper doctor`"


def _error(number: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
