"""What the client scripts share: the question, and one line of JSON for each way of asking it."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

QUESTION = "What does this call cost?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def steer(**script: object) -> dict[str, str]:
    """Headers that steer the fake provider; a question about refusals or rewrites is steered by the test instead."""
    return {f"x-fake-{name.replace('_', '-')}": str(value) for name, value in script.items()}


class Case:
    """``answer`` is a whole answer, ``add`` takes an answer in pieces."""

    def __init__(self, name: str) -> None:
        self.name, self.answer, self.text, self.pieces = name, None, "", 0

    def add(self, part: Any, text: str | None) -> None:
        self.answer = part or self.answer
        self.text += text or ""
        self.pieces += 1

    def result(self) -> dict[str, Any]:
        answer = self.answer
        identifier = getattr(answer, "id", None) or getattr(answer, "response_id", None)
        return {"case": self.name, "id": identifier, "model": _model(answer), "text": self.text or _text(answer), "error": None}


@contextlib.contextmanager
def report(name: str) -> Iterator[Case]:
    """Print what came of a case: its answer, or the error as the SDK shows it to its user."""
    case = Case(name)
    try:
        yield case
        result = case.result()
    except Exception as error:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        result = {"case": name, "error": type(error).__name__, "status": status, "message": str(error)}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def _model(answer: Any) -> str | None:
    return getattr(answer, "model", None) or getattr(answer, "model_version", None)


def _text(answer: Any) -> str:
    if choices := getattr(answer, "choices", None):
        return str(choices[0].message.content)
    if isinstance(content := getattr(answer, "content", None), list):
        return str(content[0].text)
    return str(getattr(answer, "output_text", None) or getattr(answer, "text", ""))
