"""A certified OpenID provider in a process of its own, and a browser that fills in its forms."""

import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from identity.npm import or_skip

HERE = Path(__file__).resolve().parent / "provider"
RESOURCE = "https://tollkeeper.example.com"


@dataclass
class Certified:
    """The running provider."""

    issuer: str
    process: "subprocess.Popen[str]" = field(repr=False)

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(Browser().open(f"{self.issuer}/counts").text)
        return found


@contextmanager
def serving(folder: Path) -> Iterator[Certified]:
    """Start the provider; it ends with this process."""
    command = ["node", str(HERE / "provider.mjs"), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        while first and not first.startswith("ready "):
            first = process.stdout.readline()
        if not first:
            raise RuntimeError("the provider ended before it served")
        yield Certified(first.split()[1], process)
    finally:
        process.terminate()
        process.communicate()


def certified(config: pytest.Config, factory: pytest.TempPathFactory) -> Iterator[Certified]:
    """For a session fixture. Where it cannot run, the tests are skipped with the reason; in CI they fail."""
    with serving(or_skip(config, "provider", factory.mktemp)) as provider:
        yield provider


class _Forms(HTMLParser):
    """The first form of a page, and the hidden fields of it."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = found.get("action", "")
        elif tag == "input" and self.action is not None and found.get("name"):
            self.fields[found["name"]] = found.get("value", "")


@dataclass
class Page:
    """Where the browser is."""

    url: str
    status: int
    text: str

    def form(self) -> tuple[str, dict[str, str]] | None:
        forms = _Forms()
        forms.feed(self.text)
        return None if forms.action is None else (urljoin(self.url, forms.action), forms.fields)


class Browser:
    """A person at a browser, in a few lines: cookies, redirects, forms."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def open(self, url: str, form: Mapping[str, str] | None = None) -> Page:
        for _ in range(20):
            page, onward = self._once(url, form)
            if onward is None:
                return page
            url, form = urljoin(url, onward), None
        raise RuntimeError("too many redirects")

    def _once(self, url: str, form: Mapping[str, str] | None) -> tuple[Page, str | None]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        body = None if form is None else urlencode(form)
        if form is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("GET" if form is None else "POST", target, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    cookie, _, rest = value.partition("=")
                    self.cookies[cookie] = rest.partition(";")[0]
            onward = answer.getheader("location") if 300 <= answer.status < 400 else None
            return Page(url, answer.status, text), onward
        finally:
            connection.close()

    def log_in(self, url: str, name: str, **answers: Any) -> Page:
        """Follow a log-in to its end: every form is submitted, the name filled in where one is asked for."""
        page = self.open(url)
        for _ in range(10):
            form = page.form()
            if form is None:
                return page
            action, fields = form
            if "login" in fields:
                fields |= {"login": name, "password": "any"}
            page = self.open(action, {**fields, **answers})
        raise RuntimeError("too many forms")
