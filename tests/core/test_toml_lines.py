"""A valid document's keys are found on their lines; a broken one is refused with its line."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.errors import ConfigError
from tollkeeper.core.toml_lines import load_toml, nearest

DOCUMENT = '''\
schema = 1 # [[price]] in a comment
a.b."c d" = [1,
  2, "]", { x = "#" }]
text = """
[[price]]
key = 1
"""

[[price]]
from = 2026-01-01
match = { starts_with = "q" }
[price.sub]
k = 1
[[price]]
quote = \'\'\'
x = 1 \'\'\'\'
last = 2
[t."x.y"]
z = 1.5
[[price.deep]]
n = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("schema",), 1),
        (("a", "b", "c d"), 2),
        (("a", "b", "c d", 1), 2),
        (("text",), 4),
        (("price", 0), 9),
        (("price", 0, "from"), 10),
        (("price", 0, "match", "starts_with"), 11),
        (("price", 0, "sub"), 12),
        (("price", 0, "sub", "k"), 13),
        (("price", 1), 14),
        (("price", 1, "quote"), 15),
        (("price", 1, "last"), 17),
        (("t", "x.y"), 18),
        (("t", "x.y", "z"), 19),
        (("price", 1, "deep", 0, "n"), 21),
        (("price", 1, "nothing"), 14),
        (("nothing",), 1),
        ((), 1),
    ],
)
def test_a_key_is_found_on_its_line(path: tuple[str | int, ...], line: int) -> None:
    _, lines = load_toml(Path("x.toml"), DOCUMENT)
    assert lines.line_of(path) == line


LADDER = """\
[budget.day]
on_exceed = [
  "warn, { x = 1 }", # , { y = 2 }
  { clamp = { min_output_tokens = 64, effort."of all" = "low" } },
  { downgrade = [
    "a",
    { model = "b", key = "c" },
  ] },
]
amount = "5 USD"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("x",), 2),
        (("y",), 2),
        (("clamp",), 4),
        (("clamp", "effort", "of all"), 4),
        (("downgrade",), 5),
        (("downgrade", "key"), 7),
        (("downgrade", "nothing"), 5),
    ],
)
def test_a_key_inside_an_array_of_many_lines_is_found_on_its_own(path: tuple[str, ...], line: int) -> None:
    _, lines = load_toml(Path("x.toml"), LADDER)
    assert lines.line_of(("budget", "day", "on_exceed", *path)) == line
    assert lines.line_of(("budget", "day", "amount")) == 10


def test_windows_line_ends_count_the_same() -> None:
    _, lines = load_toml(Path("x.toml"), DOCUMENT.replace("\n", "\r\n"))
    assert lines.line_of(("price", 1, "last")) == 17


def test_fractions_are_read_exactly() -> None:
    document, _ = load_toml(Path("x.toml"), "rate = 0.1")
    assert str(document["rate"]) == "0.1"


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("[x\n", 1), ("a = 1\nb", 2), ('a = """\nx', 2)]
)
def test_what_is_not_toml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"^x\.toml:{line}: not TOML: "):
        load_toml(Path("x.toml"), text)


def test_unreadable_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_toml(tmp_path / "absent.toml")
    broken = tmp_path / "latin.toml"
    broken.write_bytes(b'a = 1\nb = "\xe9"\n')
    with pytest.raises(ConfigError, match=r"latin\.toml:2: not UTF-8"):
        load_toml(broken)
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * 5_000_000)
    with pytest.raises(ConfigError, match="longer than"):
        load_toml(huge)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_toml(Path("x.toml"), "a = " + "[" * 100_000)


def test_the_nearest_name_is_told_only_when_one_is_near() -> None:
    assert nearest("input_mto", ["input_mtok", "output_mtok"]) == "input_mtok"
    assert nearest("Budgte", ["budget", "mode"]) == "budget"
    assert nearest("zzz", ["budget", "mode"]) is None


KEY = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
SCALAR = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(['"a#b"', "'[x]'", '"""\nq = 1\n[t]\n"""', "'''\n]'''", "[1,\n 2]", "{ a = 1 }", "2026-01-01", "true"]),
)


@given(st.lists(st.tuples(KEY, st.dictionaries(KEY, SCALAR, max_size=4)), max_size=6, unique_by=lambda entry: entry[0]))
def test_every_key_of_any_document_is_found_where_it_was_written(tables: list[tuple[str, dict[str, str]]]) -> None:
    text, wanted = "", {}
    for table, entries in tables:
        wanted[(table,)] = text.count("\n") + 1
        text += f"[{table}]\n"
        for key, value in entries.items():
            wanted[(table, key)] = text.count("\n") + 1
            text += f"{key} = {value}\n\n"
    document, lines = load_toml(Path("x.toml"), text)
    assert document == tomllib.loads(text)
    assert {path: lines.line_of(path) for path in wanted} == wanted
