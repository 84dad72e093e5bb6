"""Telling somebody: one alert through one channel. Blocking, with short limits; called off the event loop."""

import hashlib
import hmac
import http.client
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Final

from tollkeeper.core.errors import ConfigError
from tollkeeper.policy.alerting import AlertRule, Way

from .vault import key_at

TIMEOUT_SECONDS: Final = 10.0
SIGNATURE: Final = "x-tollkeeper-signature"


def send(rule: AlertRule, payload: dict[str, Any], seconds: float | None = None) -> None:
    """Tell it. Raises ``OSError`` or ``ConfigError`` when that failed, in words that hold no address and no secret."""
    match rule.way:
        case Way.WEBHOOK:
            _post(rule, json.dumps(payload, ensure_ascii=False).encode(), int(time.time() if seconds is None else seconds))
        case Way.SLACK:
            _post(rule, json.dumps({"text": payload["text"]}, ensure_ascii=False).encode(), 0)
        case Way.DESKTOP:
            _run(desktop_command(payload["text"]), b"")
        case Way.COMMAND:
            _run(rule.command, json.dumps(payload, ensure_ascii=False).encode())


def signature(secret: str, seconds: int, body: bytes) -> str:
    """``t=SECONDS,v1=HEX``: HMAC-SHA-256 over ``SECONDS.BODY``, so that neither body nor time can be changed, nor replayed later."""
    digest = hmac.new(secret.encode(), b"%d.%b" % (seconds, body), hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def desktop_command(text: str, platform: str = sys.platform) -> tuple[str, ...]:
    """The program that shows a notification on this system. Raises ``OSError`` where there is none."""
    if platform == "darwin":
        script = 'on run argv\ndisplay notification (item 1 of argv) with title "tollkeeper"\nend run'
        return ("osascript", "-e", script, text)
    if platform.startswith("linux") and shutil.which("notify-send"):
        return ("notify-send", "--app-name=tollkeeper", "tollkeeper", text)
    raise OSError("this system has no program that shows notifications (notify-send, osascript)")


def _post(rule: AlertRule, body: bytes, seconds: int) -> None:
    url = key_at(rule.url) if rule.url.startswith(("env:", "keyring:")) else rule.url
    if not url.startswith(("https://", "http://localhost", "http://127.0.0.1", "http://[::1]")):
        raise ConfigError(f"alert {rule.name}: its address is no https address")
    request = urllib.request.Request(url, data=body, method="POST")  # noqa: S310 — the scheme was looked at
    request.add_header("content-type", "application/json")
    request.add_header("user-agent", "tollkeeper")
    if rule.secret:
        request.add_header(SIGNATURE, signature(key_at(rule.secret), seconds, body))
    # Not through a proxy of the environment: that may be this very process.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read(1_000)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"it answered {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OSError(f"it could not be reached ({type(error).__name__})") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        """Nobody else is told: a redirect is an error."""


def _run(command: tuple[str, ...], given: bytes) -> None:
    try:
        done = subprocess.run(
            command, input=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} took more than {TIMEOUT_SECONDS:.0f} s") from None
    if done.returncode:
        raise OSError(f"{command[0]} ended with exit code {done.returncode}")
