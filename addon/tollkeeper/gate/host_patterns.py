"""Patterns for hosts in lists of allowed ones: ``pypi.org``, ``*.github.com``, ``*.example.com:8443``."""


def covers(pattern: str, host: str, port: int) -> bool:
    """Whether ``name``, ``*.name`` or ``name:port`` covers a host. Without a port a pattern covers 80 and 443; port 0 asks for any."""
    name, _, wanted = pattern.lower().rpartition(":") if pattern.count(":") == 1 else (pattern.lower(), "", "")
    if port and (str(port) != wanted if wanted else port not in {80, 443}):
        return False
    host = host.lower().strip("[]").removesuffix(".")
    return host.endswith(name[1:]) if name.startswith("*.") else host == name.strip("[]")


def fault_of(pattern: str) -> str:
    """What is wrong with a pattern, and what to write; empty for a good one. One that covers a whole top level, or everything, is none."""
    name, _, port = pattern.rpartition(":") if pattern.count(":") == 1 else (pattern, "", "443")
    rest = name.removeprefix("*.")
    is_good = rest and rest.isprintable() and not set(rest) & set("*/ ,") and (name == rest or "." in rest)
    if is_good and port.isdecimal() and 0 < int(port) < 65_536:
        return ""
    return (
        f'{pattern[:80]!r} is no host: write "pypi.org", "*.example.com" or "example.com:8443" '
        "(one name a time, and no whole top-level domain)"
    )
