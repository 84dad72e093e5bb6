"""JSON in shapes that nobody should send, under the keys that a reader looks at."""

from typing import Any

from hypothesis import strategies as st

COUNTS = (
    "input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "input_token_details", "output_tokens_details",
    "image_tokens", "audio_tokens", "text_tokens", "cached_tokens", "seconds", "duration", "cost", "cost_in_usd_ticks", "end",
)  # fmt: skip

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**31), 10**31),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-9, 0, 1, 10**9 + 1, 10**30, "12", "-1", "1e400", "NaN", "0.5", "", "a" * 90, "1024x1024", "\ud83d"]),
    st.text(max_size=8),
)


def documents(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of ``keys`` and of ``COUNTS``, nested a few deep, holding anything."""
    names = st.sampled_from((*keys, *COUNTS))
    inner = st.recursive(
        SCALARS, lambda one: st.one_of(st.lists(one, max_size=3), st.dictionaries(names, one, max_size=4)), max_leaves=12
    )
    return st.dictionaries(names, inner, max_size=6)
