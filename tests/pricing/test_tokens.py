"""Tokens are counted offline, exactly, and no text however odd breaks the counter."""

import base64
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollkeeper.core import resources
from tollkeeper.core.errors import PriceError
from tollkeeper.pricing import tokens
from tollkeeper.pricing.tokens import SAMPLE_CHARS, count_tokens, load_vocabulary

SOURCE = Path(tokens.__file__).resolve().parents[2]


def test_the_vocabulary_is_openais_to_the_last_byte() -> None:
    raw = b"".join(base64.b64encode(token) + b" " + str(rank).encode() + b"\n" for token, rank in load_vocabulary().items())
    assert sha256(raw).hexdigest() == "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("hello world", 2),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("def f(x):\n    return x + 1\n", 11),
        ("<|endoftext|>", 7),
        ("\ud800 lone surrogate", None),
        ("\x00\x01\x02", None),
    ],
)
def test_texts_have_the_number_of_tokens_that_openai_counts(text: str, count: int | None) -> None:
    found = count_tokens(text)
    assert found == count if count is not None else found > 0


@pytest.mark.parametrize("char", [" ", "\t", "\u00a0", "\n", "a", "_"])
def test_a_million_of_one_character_is_counted_without_a_crash(char: str) -> None:
    assert 0 < count_tokens(char * 1_100_000) < 1_100_000


def test_cutting_long_text_into_pieces_changes_next_to_nothing() -> None:
    sentence = "Some ordinary prose, with 12 numbers and (a few) brackets; repeated. "
    whole = count_tokens(sentence * 100) * 40
    assert abs(count_tokens(sentence * 4_000) - whole) < whole * 0.001


def test_text_beyond_the_sample_is_scaled() -> None:
    sentence = "alpha beta gamma delta "
    times = 4 * SAMPLE_CHARS // len(sentence)
    assert count_tokens(sentence * times) == pytest.approx(count_tokens(sentence * 1_000) * times / 1_000, rel=0.01)


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    assert count_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))


def test_many_threads_may_ask_first_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(count_tokens, ["hello world"] * 64)) == {2}


def test_nothing_is_downloaded_and_tiktoken_is_imported_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from tollkeeper.pricing import book, complete, tokens\n"
        "assert 'tiktoken' not in sys.modules\n"
        "assert 'genai_prices' not in sys.modules\n"
        "assert tokens.count_tokens('hello world') == 2\n"
        "assert 'tiktoken' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert socket.socket.connect is not None


@pytest.mark.parametrize("damage", ["absent", "changed"])
def test_a_damaged_vocabulary_is_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if damage == "changed":
        packed = bytearray((resources.data("pricing") / "o200k_base.xz").read_bytes())
        packed[1_000] ^= 1
        (tmp_path / "o200k_base.xz").write_bytes(packed)
    monkeypatch.setattr(tokens, "data", lambda _: tmp_path)
    with pytest.raises(PriceError, match="reinstall Tollkeeper"):
        load_vocabulary()
