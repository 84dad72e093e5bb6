"""The report and the dashboard in a real browser: no complaint, nothing fetched, readable on a phone, in light and dark, by ear."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ledger.samples import NOW
from report.browser import Page, browse
from tollkeeper.policy.document import parse_policy
from tollkeeper.report.html import report_html
from tollkeeper.report.overview import read_overview
from tollkeeper.tui.serve import HOST, TopServer

ADDON = Path(__file__).resolve().parents[2] / "addon"
POLICY = 'schema = 1\nmode = "enforce"\nzone = "UTC"\n[budget.month]\namount = "5 USD"\nwindow = "month"\n'
PICTURES = os.environ.get("TOLLKEEPER_PICTURES")
"""A folder for what was seen, to look at."""

FAINT = """(() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = node => { for (; node; node = node.parentElement) {
    const found = numbers(getComputedStyle(node).backgroundColor); if (found.length < 4 || found[3] > 0.99) return found; }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255]; };
  const faint = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || !node.getClientRects().length || node.closest('svg')) continue;
    const [one, other] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${node.tagName} ${text.slice(0, 40)}`);
  }
  return faint; })()"""
"""Texts with less contrast than WCAG 2.2 AA asks for (1.4.3)."""
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(node => node.getBoundingClientRect().right > innerWidth + 1
  && !node.closest('.wide, .scroll, [tabindex]') && !node.closest('svg')).map(node => node.tagName + '.' + node.className)"""
UNNAMED = """[...document.querySelectorAll('svg')].filter(chart => chart.getAttribute('aria-hidden') !== 'true'
  && !(chart.getAttribute('role') === 'img' && (chart.getAttribute('aria-label') || chart.getAttribute('aria-labelledby')
  || chart.querySelector('title')))).length"""


def test_the_report_opens_without_a_word_and_can_be_read_anywhere(path: Path, tmp_path: Path) -> None:
    policy = parse_policy(POLICY, "policy.toml")
    overview = read_overview(path, by=("principal", "model"), since=None, until=None, zone="UTC", policy=policy, at=NOW)
    file = tmp_path / "report.html"
    file.write_text(report_html(overview, "AI spend", NOW), encoding="utf-8")

    async def script(page: Page) -> None:
        await page.look(1280, 900)
        await page.open(file.as_uri())
        assert page.requests == [file.as_uri()]
        assert await page.run("document.title") == "AI spend"
        assert await page.run("document.querySelectorAll('main').length") == 1
        assert await page.run("document.querySelectorAll('h1').length") == 1
        assert await page.run("document.documentElement.lang") == "en"
        assert await page.run("document.querySelectorAll('svg').length") >= 4
        assert await page.run(UNNAMED) == 0
        assert await page.run("[...document.querySelectorAll('figure')].every(f => f.querySelector('details table'))")
        assert await page.run("[...document.querySelectorAll('table')].every(t => t.querySelector('th'))")
        for scheme in ("light", "dark"):
            for width, phone in ((390, True), (320, True), (1280, False)):
                await page.look(width, 844, scheme=scheme, phone=phone)
                assert await page.run("document.documentElement.scrollWidth") <= width, (width, await page.run(TOO_WIDE))
                await keep(page, f"report-{scheme}-{width}")
            assert await page.run(FAINT) == [], scheme
        assert page.console == []

    browse(script)


def test_the_dashboard_runs_in_a_browser_and_takes_its_keys(path: Path) -> None:
    command = (
        f"{sys.executable} -c 'from tollkeeper.cli.main import main; main()' top --ledger {path} --since 2020-01-01 --zone UTC"
    )

    async def script(page: Page) -> None:
        listener = socket.create_server((HOST, 0))
        port = listener.getsockname()[1]
        runner = web.AppRunner(await TopServer(command, port, "a-token").application())
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            await page.look(1200, 700)
            await page.open(f"http://{HOST}:{port}/?token=a-token")
            assert await page.run("location.search") == ""
            await page.until(lambda: b"overview" in page.frames and b"since start" in page.frames, "the first frame")
            page.frames = b""
            await page.run("(document.querySelector('textarea') || document.body).focus()")
            await press(page, "4")
            await page.until(lambda: b"budget" in page.frames, "the screen of budgets")
            await keep(page, "top")
            assert {url.split("/")[2] for url in page.requests if not url.startswith("data:")} == {f"{HOST}:{port}"}
            assert page.console == []
            await press(page, "q")
        finally:
            await page.open("about:blank")
            await runner.cleanup()

    with_path(lambda: browse(script))


def with_path(run: Any) -> None:
    """The command of each page finds our code, and begins before any ledger of its own."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ADDON)
    try:
        run()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


async def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        await page.send("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")


async def keep(page: Page, name: str) -> None:
    """Write what is to be seen where somebody wants to look at it."""
    if PICTURES:
        picture = await page.picture()
        await asyncio.to_thread((Path(PICTURES) / f"{name}.png").write_bytes, picture)


def test_a_browser_is_asked_for_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    from report.browser import program

    with pytest.raises(pytest.skip.Exception, match="not opened in a real browser"):
        program()
