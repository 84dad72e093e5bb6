"""Hosts of one's own are a file: they are opened, read as what the file says they speak, and every mistake names its line."""

import re
import textwrap
from pathlib import Path

import pytest

from tollkeeper.core.errors import ConfigError
from tollkeeper.gate.extra_hosts import host_table
from tollkeeper.gate.hosts import HostTable


def written(folder: Path, text: str) -> Path:
    path = folder / "hosts.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_the_file_the_shipped_table_stands(tmp_path: Path) -> None:
    assert host_table(tmp_path / "hosts.toml").permitted_names() == HostTable.load().permitted_names()


def test_a_host_of_ones_own_is_opened_as_what_it_speaks(tmp_path: Path) -> None:
    lines = '"llm.example.com" = "vllm"\n"*.models.example.com" = "ollama"\n"acme.snowflakecomputing.com" = "snowflake"\n'
    table = host_table(written(tmp_path, f"schema = 1\n[hosts]\n{lines}"))
    assert (table.provider_of("llm.example.com"), table.intercepts("llm.example.com:8000")) == ("vllm", True)
    assert table.provider_of("a.models.example.com") == "ollama"
    assert (table.intercepts("acme.snowflakecomputing.com"), table.intercepts("other.snowflakecomputing.com")) == (True, False)
    assert {"llm.example.com", "models.example.com", "acme.snowflakecomputing.com"} <= set(table.permitted_names())
    assert table.provider_of("api.openai.com") == "openai"


def test_the_sample_of_the_page_is_read(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "gate.md"
    (sample,) = (
        textwrap.dedent(found) for found in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
    assert host_table(written(tmp_path, sample)).provider_of("llm.example.com") == "vllm"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 1\n[host]\n", ':2: unknown key "host"'),
        ('[hosts]\n"a.example" = "vllm"\n', ":1: schema is None; write schema = 1"),
        ("schema = 2\n", ":1: schema is 2; write schema = 1"),
        ("schema = 1\nhosts = 3\n", ":2: [hosts] holds lines such as"),
        ('schema = 1\n[hosts]\n"a.example" = 3\n', ":3: what 'a.example' speaks is a text"),
        ('schema = 1\n[hosts]\n\n"10.0.0.1" = "vllm"\n', ":4: extra host '10.0.0.1' is an IP address"),
        ('schema = 1\n[hosts]\n"*.com" = "vllm"\n', ":3: extra host '*.com' covers a whole top-level domain"),
        ('schema = 1\n[hosts]\n"a.example" = "v LLM"\n', ":3: extra host 'a.example': provider 'v LLM'"),
        ("schema = \n", "hosts.toml:1"),
    ],
)
def test_a_mistake_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        host_table(written(tmp_path, text))
    assert said in str(refused.value)


def test_no_more_hosts_than_a_certificate_can_carry(tmp_path: Path) -> None:
    lines = "\n".join(f'"h{index}.example" = "vllm"' for index in range(1_001))
    with pytest.raises(ConfigError, match="at most 1,000"):
        host_table(written(tmp_path, f"schema = 1\n[hosts]\n{lines}\n"))
