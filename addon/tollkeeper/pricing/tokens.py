"""Counting tokens where a provider reported none: tiktoken's o200k_base from a vocabulary that ships with us.

tiktoken's own loader downloads (and deletes a cached file whose hash is wrong, then fetches without a timeout): inside a proxy that
is a hang and a loop. So the encoding is built here from ``pricing/o200k_base.xz`` and nothing is ever fetched. The first count
takes about half a second and 80 MiB; later ones 5–25 MB/s with the GIL released. Call it from a worker thread for more than about
30,000 characters.
"""

import lzma
from hashlib import sha256
from math import ceil
from threading import Lock
from typing import TYPE_CHECKING

from tollkeeper.core.errors import PriceError
from tollkeeper.core.resources import data

if TYPE_CHECKING:
    from tiktoken import Encoding

CHUNK_CHARS = 32_768
"""Text is encoded in pieces: a run of about a million spaces overflows the stack of the regex engine. Costs 0.01 % in accuracy."""
SAMPLE_CHARS = 2_000_000
"""Of longer texts only head and tail are counted, and scaled."""

_VOCABULARY_SHA256 = "29d8e608e4b262be66451d5217669d058e399d4a3e160c14ce2fd722e5c0c189"
_TOKENS = 199_998
# tiktoken 0.14, tiktoken_ext/openai_public.py (MIT, see pricing/LICENSE.tiktoken).
_PATTERN = "|".join(
    (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    )
)
_SPECIAL = {"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018}

_lock = Lock()
_built: list["Encoding"] = []


def count_tokens(text: str) -> int:
    """How many o200k_base tokens ``text`` has; texts beyond two million characters are sampled and scaled.

    Control sequences such as ``<|endoftext|>`` are counted as the text they are. Never raises for any text; raises ``PriceError``
    when the shipped vocabulary is damaged.
    """
    if not text:
        return 0
    if len(text) > SAMPLE_CHARS:
        half = SAMPLE_CHARS // 2
        sampled = _count(text[:half]) + _count(text[-half:])
        return ceil(sampled * len(text) / SAMPLE_CHARS)
    return _count(text)


def load_vocabulary() -> dict[bytes, int]:
    """The shipped vocabulary: token bytes → rank. Raises ``PriceError`` when the file is missing or not the one we shipped."""
    path = data("pricing") / "o200k_base.xz"
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise PriceError(f"{path}: {error.strerror or error}; reinstall Tollkeeper") from None
    found = sha256(packed).hexdigest()
    if found != _VOCABULARY_SHA256:
        raise PriceError(f"{path} is damaged: SHA-256 {found[:12]}…, expected {_VOCABULARY_SHA256[:12]}…; reinstall Tollkeeper")
    body = lzma.decompress(packed)
    ranks: dict[bytes, int] = {}
    at, end = 0, len(body)
    while at < end:
        start = at + 1
        at = start + body[at]
        ranks[body[start:at]] = len(ranks)
    if len(ranks) != _TOKENS:
        raise PriceError(f"{path} holds {len(ranks):,} tokens, expected {_TOKENS:,}; reinstall Tollkeeper")
    return ranks


def _encoding() -> "Encoding":
    if not _built:
        with _lock:
            if not _built:
                import tiktoken

                encoding = tiktoken.Encoding(
                    "o200k_base", pat_str=_PATTERN, mergeable_ranks=load_vocabulary(), special_tokens=_SPECIAL
                )
                # Kept by tiktoken for pickling only; the encoder has its own copy. Saves 27 MiB.
                encoding._mergeable_ranks = {}  # noqa: SLF001
                _built.append(encoding)
    return _built[0]


def _count(text: str) -> int:
    encoding, total = _encoding(), 0
    for start in range(0, len(text), CHUNK_CHARS):
        piece = text[start : start + CHUNK_CHARS]
        try:
            total += len(encoding.encode_ordinary(piece))
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException:  # tiktoken's Rust panics derive from BaseException, not Exception
            total += len(piece.encode("utf-8", "replace")) // 3
    return total
