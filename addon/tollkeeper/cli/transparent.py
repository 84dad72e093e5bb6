"""``tollkeeper transparent up|down|status``: the packet rules of transparent mode. Needs root; says every command it ran with --verbose."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import click

from tollkeeper.core.errors import ConfigError, SetupError
from tollkeeper.gate import firewall
from tollkeeper.gate.firewall import ALL_JUMPS, CHAIN, TABLE, Place, Rules

TRANSPARENT_PORT = 8878
TOOLS = ("nft", "iptables")
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Host:
    """Runs the tools, here or inside a network namespace."""

    prefix: tuple[str, ...] = ()
    verbose: bool = False

    def run(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """The finished command; its output captured. Raises ``SetupError`` when it cannot be started."""
        if self.verbose:
            click.echo(f"# {' '.join((*self.prefix, *command))}\n{text}", err=True, nl=bool(not text))
        try:
            return subprocess.run(
                [*self.prefix, *command], input=text, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"cannot run {command[0]}: {error}") from error

    def must(self, *command: str, text: str = "") -> str:
        """As ``run``; raises ``SetupError`` with what the tool said when it fails."""
        done = self.run(*command, text=text)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise SetupError(
                f"`{' '.join(command)}` failed: {said[0] if said else f'exit code {done.returncode}'}; "
                "packet rules need root (or CAP_NET_ADMIN) and a kernel with nf_tables or ip_tables"
            )
        return done.stdout


def chosen_tool(wanted: str | None) -> str:
    """The packet filter to use: as asked, else nftables, else iptables. Raises ``SetupError`` when there is none."""
    for tool in (wanted,) if wanted else TOOLS:
        if shutil.which(tool) and (tool == "nft" or shutil.which(f"{tool}-restore")):
            return tool
    raise SetupError(f"{wanted or 'neither nft nor iptables'} is not installed: apt-get install nftables")


def namespace_prefix(netns: str | None) -> tuple[str, ...]:
    """What runs a command inside a network namespace: given by name (``ip netns``), path, or the id of a process in it."""
    if not netns:
        return ()
    if netns.isdecimal():
        return ("nsenter", f"--net=/proc/{netns}/ns/net", "--")
    if netns.startswith("/"):
        return ("nsenter", f"--net={netns}", "--")
    return ("ip", "netns", "exec", netns)


def user_id(text: str) -> int:
    """A user's id, from its number or name. Raises ``ConfigError``."""
    if text.isdecimal():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {text!r} on this machine") from None


type Users = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]


def users_of(texts: Sequence[str], host: Host) -> Users:
    """(ids, ranges of ids) that texts name: users, numbers, ranges like ``100000-165535``, and what /etc/subuid gives those users.

    A process may take its user's subordinate ids in a user namespace of its own, without being root (user_namespaces(7)).
    """
    pairs = [text.partition("-") for text in texts]
    ranges = [(int(first), int(last)) for first, dash, last in pairs if dash and first.isdecimal() and last.isdecimal()]
    single = [
        text
        for text, (first, dash, last) in zip(texts, pairs, strict=True)
        if not (dash and first.isdecimal() and last.isdecimal())
    ]
    uids = tuple(map(user_id, single))
    names = {name for uid in uids for name in (str(uid), _name_of(uid)) if name}
    return uids, (*ranges, *firewall.subordinate_ids(read_there(host, "/etc/subuid"), names))


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def read_there(host: Host, path: str) -> str:
    """A file as a namespace sees it; empty when there is none."""
    done = host.run("cat", path)
    return done.stdout if done.returncode == 0 else ""


def dns_of(asked: Sequence[str], host: Host, *, everywhere: bool) -> tuple[str, ...] | None:
    """Which resolvers a lock lets through: those named, ``any`` for all, else the machine's own; None for any."""
    if "any" in asked or (everywhere and not asked):
        return None
    return tuple(asked) or firewall.resolvers(read_there(host, "/etc/resolv.conf"))


def put_up(host: Host, tool: str, rules: Rules) -> None:
    """Set the rules; what stood there of ours before is replaced. Raises ``SetupError`` with nothing left half done in nftables."""
    if tool == "nft":
        host.must("nft", "-f", "-", text=firewall.nft(rules))
        return
    take_down(host, "iptables")
    for program, ipv6 in _families(host):
        host.must(f"{program}-restore", "--noflush", text=firewall.iptables(rules, ipv6=ipv6))
        for table, chain, ours in firewall.iptables_jumps(rules):
            host.must(program, "-w", "-t", table, "-I", chain, "1", "-j", ours)


def take_down(host: Host, tool: str) -> None:
    """Remove every rule of ours; nothing happens where there is none."""
    if tool == "nft":
        host.must("nft", "-f", "-", text=firewall.nft_down())
        return
    for program, _ in _families(host):
        for table, chain, ours in ALL_JUMPS:
            while host.run(program, "-w", "-t", table, "-D", chain, "-j", ours).returncode == 0:
                pass
        for table, ours in dict.fromkeys((table, ours) for table, _, ours in ALL_JUMPS):
            if host.run(program, "-w", "-t", table, "-F", ours).returncode == 0:
                host.must(program, "-w", "-t", table, "-X", ours)


def standing(host: Host, tool: str) -> str:
    """Our rules as the packet filter shows them; empty when there are none."""
    if tool == "nft":
        done = host.run("nft", "list", "table", "inet", TABLE)
        return done.stdout if done.returncode == 0 else ""
    found = []
    for program, _ in _families(host):
        for table in ("nat", "filter"):
            done = host.run(f"{program}-save", "-t", table)
            found += [
                f"{program} -t {table} {line}" for line in done.stdout.splitlines() if line.startswith("-A") and CHAIN in line
            ]
    return "\n".join(found)


def _families(host: Host) -> tuple[tuple[str, bool], ...]:
    """iptables, and ip6tables where the kernel has IPv6. A machine with IPv6 and no ip6tables would have an open second door."""
    if not host.run("test", "-e", "/proc/net/if_inet6").returncode and not shutil.which("ip6tables"):
        raise SetupError(
            "this machine speaks IPv6 and ip6tables is not installed: IPv6 would stay open. apt-get install iptables"
        )
    return (("iptables", False), ("ip6tables", True)) if shutil.which("ip6tables") else (("iptables", False),)


_tool = click.option("--tool", type=click.Choice(TOOLS), help="Packet filter to use.  [nft, else iptables]")
_netns = click.option("--netns", help="Network namespace to do it in: a name of `ip netns`, a path, or a process id.")
_verbose = click.option("--verbose", is_flag=True, help="Show every command.")


@click.group()
def command() -> None:
    """Send connections to a transparent proxy without their knowing. Needs root.

    The proxy itself: `tollkeeper start --mode transparent`, run as a user of its own.
    """


@command.command()
@click.option("--proxy-user", required=True, help="User (name or number) that runs the proxy: its connections are never caught.")
@click.option(
    "--user", "users", multiple=True, help="Catch this user (name, number, range of numbers) only; may be repeated.  [everyone]"
)
@click.option(
    "--interface", "interfaces", multiple=True, help="Catch what comes in here instead: a container network's bridge, a veth."
)
@click.option("--port", default=TRANSPARENT_PORT, show_default=True, help="The transparent listener's port.")
@click.option("--catch", "catch", multiple=True, type=click.IntRange(1, 65535), help="TCP port to catch.  [80, 443]")
@click.option("--lock", is_flag=True, help="Refuse everything that is neither caught, nor DNS, nor allowed.")
@click.option("--allow", multiple=True, help="With --lock: let this through untouched, like tcp:22; may be repeated.")
@click.option(
    "--dns",
    multiple=True,
    help="With --lock: a resolver that may be asked, or `any`.  [those of resolv.conf; any with --interface]",
)
@click.option("--explicit-port", default=0, help="With --interface and --lock: the proxy's other listener.")
@click.option("--print", "only_print", is_flag=True, help="Print the rules instead of setting them.")
@_tool
@_netns
@_verbose
def up(
    proxy_user: str,
    users: tuple[str, ...],
    interfaces: tuple[str, ...],
    port: int,
    catch: tuple[int, ...],
    lock: bool,
    allow: tuple[str, ...],
    dns: tuple[str, ...],
    explicit_port: int,
    only_print: bool,
    tool: str | None,
    netns: str | None,
    verbose: bool,
) -> None:
    """Set the rules up, or set them anew: doing it twice changes nothing."""
    host = Host(namespace_prefix(netns), verbose)
    uids, ranges = users_of(users, host)
    rules = firewall.checked(
        Rules(
            place=Place.INTERFACE if interfaces else Place.OWNER,
            port=port,
            proxy_uid=user_id(proxy_user),
            uids=uids,
            ranges=ranges,
            dns=dns_of(dns, host, everywhere=bool(interfaces) or not lock),
            interfaces=interfaces,
            catch=catch or firewall.CATCH_PORTS,
            lock=lock,
            allow=allow,
            explicit_port=explicit_port,
        )
    )
    if only_print:
        chosen = tool or "nft"
        click.echo(firewall.nft(rules) if chosen == "nft" else firewall.iptables(rules, ipv6=False), nl=False)
        return
    chosen = chosen_tool(tool)
    put_up(host, chosen, rules)
    whom = f"what comes in by {', '.join(interfaces)}" if interfaces else (f"users {', '.join(users)}" if users else "every user")
    ending = "everything else is refused" if lock else "other ports are left alone"
    click.echo(
        f"tollkeeper: {whom}: TCP {_words(rules.catch)} goes to port {port} ({chosen}); QUIC is refused; {ending}", err=True
    )


@command.command()
@_tool
@_netns
@_verbose
def down(tool: str | None, netns: str | None, verbose: bool) -> None:
    """Take the rules away. Nothing happens where there are none."""
    host = Host(namespace_prefix(netns), verbose)
    for chosen in (chosen_tool(tool),) if tool else [name for name in TOOLS if shutil.which(name)]:
        if os.geteuid() == 0 or tool:
            take_down(host, chosen)
        else:
            raise SetupError("packet rules need root: sudo tollkeeper transparent down")
    click.echo("tollkeeper: no connection is caught any more", err=True)


@command.command()
@_tool
@_netns
@_verbose
def status(tool: str | None, netns: str | None, verbose: bool) -> None:
    """Print the rules in force. Exit code 1 when there are none."""
    host = Host(namespace_prefix(netns), verbose)
    for chosen in (tool,) if tool else [name for name in TOOLS if shutil.which(name)]:
        if found := standing(host, chosen):
            click.echo(found.rstrip())
            return
    click.echo("tollkeeper: no rules are set up", err=True)
    raise SystemExit(1)


def _words(ports: Sequence[int]) -> str:
    return ", ".join(map(str, ports))


__all__ = ["Host", "chosen_tool", "command", "namespace_prefix", "put_up", "standing", "take_down", "user_id", "users_of"]
