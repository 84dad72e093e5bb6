"""Hosts of one's own: ``hosts.toml`` in the state folder names gateways, self-hosted models and company accounts.

schema = 1
[hosts]
"llm.example.com" = "vllm"                # what it speaks: local, vllm, llama-cpp, lm-studio, ollama, litellm, openai, …
"acme.snowflakecomputing.com" = "snowflake"
"""

from pathlib import Path

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.toml_lines import load_toml

from .hosts import HostTable

SCHEMA = 1
MAX_EXTRA_HOSTS = 1_000
"""Each is a name in the authority's certificate, about 30 bytes of every handshake."""


def host_table(path: Path) -> HostTable:
    """The table that ships with us, plus the hosts that ``path`` names when it is there.

    Raises ``ConfigError`` with file and line: a host that is silently left out is traffic that nobody sees.
    """
    table = HostTable.load()
    if not path.exists():
        return table
    document, lines = load_toml(path)
    unknown = next((key for key in document if key not in {"schema", "hosts"}), None)
    if unknown is not None:
        raise ConfigError(f'{path}:{lines.line_of((unknown,))}: unknown key "{unknown}"; known are schema and [hosts]')
    if document.get("schema") != SCHEMA:
        raise ConfigError(f"{path}:{lines.line_of(('schema',))}: schema is {document.get('schema')!r}; write schema = {SCHEMA}")
    hosts = document.get("hosts", {})
    if not isinstance(hosts, dict) or len(hosts) > MAX_EXTRA_HOSTS:
        where = lines.line_of(("hosts",))
        raise ConfigError(f'{path}:{where}: [hosts] holds lines such as "llm.example.com" = "vllm", at most {MAX_EXTRA_HOSTS:,}')
    for pattern, provider in hosts.items():
        if not isinstance(provider, str):
            raise ConfigError(f'{path}:{lines.line_of(("hosts", pattern))}: what {pattern!r} speaks is a text such as "vllm"')
        try:
            table = table.with_extra({pattern: provider})
        except ConfigError as error:
            raise ConfigError(f"{path}:{lines.line_of(('hosts', pattern))}: {error}") from None
    return table
