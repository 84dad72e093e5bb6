"""``tollkeeper service``: have the proxy started at login, by systemd or launchd, for this user only."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import click

from tollkeeper.core.errors import SetupError
from tollkeeper.core.paths import home

NAME = "tollkeeper"
LABEL = "tools.tollkeeper.proxy"

UNIT = """\
[Unit]
Description=Tollkeeper: meters and budgets AI calls of this user

[Service]
Type=simple
ExecStart={command}
Environment={home}
Restart=on-failure
RestartSec=2
TimeoutStopSec=40
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK

[Install]
WantedBy=default.target
"""

PLIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>{label}</string>
  <key>ProgramArguments</key><array>{arguments}</array>
  <key>EnvironmentVariables</key><dict><key>TOLLKEEPER_HOME</key><string>{folder}</string></dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ExitTimeOut</key><integer>40</integer>
  <key>StandardErrorPath</key><string>{log}</string>
</dict></plist>
"""


@dataclass(frozen=True, slots=True)
class Service:
    """A file to write, and the commands that make the system take notice of it, or forget it."""

    file: Path
    text: str
    start: tuple[tuple[str, ...], ...]
    stop: tuple[tuple[str, ...], ...]


@click.group()
def command() -> None:
    """Start the proxy at login: a systemd user unit on Linux, a launch agent on macOS. Nothing is done as root."""


_dry = click.option("--dry-run", is_flag=True, help="Print the file and the commands, do nothing.")
_port = click.option("--port", type=click.IntRange(1, 65535), help="Port of the proxy.  [8877]")


@command.command()
@_port
@_dry
def install(port: int | None, dry_run: bool) -> None:
    """Write the service's file and start it."""
    service = service_of(sys.platform, Path.home(), port)
    if dry_run:
        click.echo(f"# {service.file}\n{service.text}", nl=False)
        for words in service.start:
            click.echo(f"$ {' '.join(words)}")
        return
    home().make()
    try:
        service.file.parent.mkdir(parents=True, exist_ok=True)
        service.file.write_text(service.text, encoding="utf-8")
    except OSError as error:
        raise SetupError(f"cannot write {service.file}: {error.strerror}") from error
    _run(service.start)
    click.echo(f'installed {service.file}; shells use it with: eval "$(tollkeeper env)"', err=True)


@command.command()
@_dry
def remove(dry_run: bool) -> None:
    """Stop the service and remove its file; the ledger stays."""
    service = service_of(sys.platform, Path.home(), None)
    if dry_run:
        for words in service.stop:
            click.echo(f"$ {' '.join(words)}")
        click.echo(f"$ rm {service.file}")
        return
    if not service.file.exists():
        raise SetupError(f"there is no service: {service.file} is not there")
    _run(service.stop)
    service.file.unlink()
    click.echo(f"removed {service.file}", err=True)


def service_of(platform: str, user_home: Path, port: int | None) -> Service:
    """The service for a platform (``sys.platform``). Raises ``SetupError`` where there is neither systemd nor launchd."""
    words = [sys.executable, "-m", "tollkeeper.cli.entry", "start", "--foreground", *([f"--port={port}"] if port else [])]
    folder = home().root.absolute()
    if platform == "darwin":
        file = user_home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        arguments = "".join(f"<string>{escape(word)}</string>" for word in words)
        text = PLIST.format(label=LABEL, arguments=arguments, folder=escape(str(folder)), log=escape(str(home().log)))
        domain = f"gui/{os.getuid()}"
        return Service(
            file, text, (("launchctl", "bootstrap", domain, str(file)),), (("launchctl", "bootout", f"{domain}/{LABEL}"),)
        )
    if platform.startswith("linux"):
        file = user_home / ".config" / "systemd" / "user" / f"{NAME}.service"
        text = UNIT.format(command=" ".join(map(_quoted, words)), home=_quoted(f"TOLLKEEPER_HOME={folder}"))
        user = ("systemctl", "--user")
        start = ((*user, "daemon-reload"), (*user, "enable", "--now", NAME))
        return Service(file, text, start, ((*user, "disable", "--now", NAME),))
    raise SetupError(f"no services on {platform}: use `tollkeeper start`, or your system's own way to start it at login")


def _run(commands: tuple[tuple[str, ...], ...]) -> None:
    for words in commands:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"`{' '.join(words)}` could not be run: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise SetupError(f"`{' '.join(words)}` failed: {said[-1] if said else done.returncode}")


def _quoted(word: str) -> str:
    """A word of a systemd unit: quoted, ``%`` and ``$`` doubled (systemd.service(5), systemd.syntax(7))."""
    safe = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{safe}"' if any(character in safe for character in " \t\"'\\;") else safe
