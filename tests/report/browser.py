"""A real browser, driven through its own protocol: Chromium where it is installed (``CHROMIUM`` may name one), else a loud skip."""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless=new", "--remote-debugging-port=0", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio", "--hide-scrollbars",
    "--no-proxy-server", "--enable-unsafe-swiftshader",
)  # fmt: skip
SECONDS = 60.0


class Page:
    """One page. ``console`` holds what it complained of, ``requests`` what it asked for, ``frames`` what its sockets received."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._session = ""
        self.console: list[str] = []
        self.requests: list[str] = []
        self.frames = b""
        self._reading = asyncio.create_task(self._read())

    async def begin(self) -> None:
        """Make the page and listen to all it does."""
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.send(f"{domain}.enable")

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        return await asyncio.wait_for(answer, SECONDS)

    async def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), SECONDS)

    async def look(self, width: int, height: int, *, scheme: str = "light", phone: bool = False) -> None:
        """A window of that size, in that colour scheme."""
        await self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def picture(self) -> bytes:
        """The page as PNG."""
        found = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    async def until(self, ready: Callable[[], Any], what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + SECONDS
        while not ready():
            assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}; console: {self.console}"
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                continue
            said = message.json()
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if "error" in said:
                    answer.set_exception(AssertionError(str(said["error"])))
                else:
                    answer.set_result(said["result"])
            else:
                self._note(said["method"], said["params"])

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded.set()
        elif event == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.console.append(f"{params['type']}: {[one.get('value', one.get('description')) for one in params['args']]}")
        elif event == "Runtime.exceptionThrown":
            self.console.append(f"exception: {params['exceptionDetails'].get('exception', {}).get('description', params)}")
        elif event == "Log.entryAdded" and not is_of_this_machine(params["entry"]):
            self.console.append(f"{params['entry']['level']}: {params['entry']['text']}")
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Network.webSocketFrameReceived":
            payload = params["response"]["payloadData"]
            self.frames += base64.b64decode(payload) if params["response"]["opcode"] == 2 else payload.encode()


def is_of_this_machine(entry: dict[str, Any]) -> bool:
    """Whether a log entry only says how long something took here: "handler took 81 ms", "slow network is detected", "GPU stall"."""
    return entry["source"] in {"violation", "intervention"} or "GL Driver Message (OpenGL, Performance" in entry["text"]


def program() -> str:
    """Where the browser is."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium is installed: the pages were not opened in a real browser")
    return found


@contextlib.asynccontextmanager
async def browsing() -> AsyncIterator[Page]:
    """A browser with a profile of its own and one page, for one test."""
    with tempfile.TemporaryDirectory(prefix="tollkeeper-browser-", ignore_cleanup_errors=True) as folder:
        command = [program(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            lines = await _port_file(Path(folder) / "DevToolsActivePort", process)
            async with (
                ClientSession() as session,
                session.ws_connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}", max_msg_size=0, heartbeat=None) as socket,
            ):
                page = Page(socket)
                try:
                    await page.begin()
                    yield page
                finally:
                    await page.close()
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, SECONDS)


async def _port_file(file: Path, process: "subprocess.Popen[bytes]") -> list[str]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        with contextlib.suppress(OSError):
            if len(lines := file.read_text().splitlines()) == 2:
                return lines
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start within a minute")


def browse(script: Callable[[Page], Awaitable[None]]) -> None:
    """Run a script in a browser of its own."""

    async def run() -> None:
        async with browsing() as page:
            await script(page)

    asyncio.run(run())
