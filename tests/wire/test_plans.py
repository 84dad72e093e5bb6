"""Plan or metered, and how much of a plan is used."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.call import Ask
from tollkeeper.core.usage import PlanWindow
from tollkeeper.wire.meter import Meter
from tollkeeper.wire.plans import MAX_WINDOWS, plan_of, windows_in, windows_of_event
from tollkeeper.wire.routes import endpoint_for

OAUTH, KEY = (b"Authorization", b"Bearer sk-ant-oat01-xyz"), (b"X-Api-Key", b"sk-ant-api03-xyz")


@pytest.mark.parametrize(
    ("provider", "host", "path", "fields", "plan"),
    [
        ("anthropic", "api.anthropic.com", "/v1/messages", [OAUTH], "claude"),
        ("anthropic", "api.anthropic.com", "/v1/messages", [(b"aUTHORIZATION", b"bEARER SK-ant-oat01-x")], "claude"),
        ("anthropic", "api.anthropic.com", "/v1/messages", [KEY], ""),
        ("anthropic", "api.anthropic.com", "/v1/messages", [], ""),
        ("openai", "api.openai.com", "/v1/responses", [OAUTH], ""),
        ("chatgpt", "chatgpt.com", "/backend-api/codex/responses", [(b"authorization", b"Bearer eyJ")], "chatgpt"),
        ("copilot", "api.githubcopilot.com", "/chat/completions", [], "copilot"),
        ("code-assist", "cloudcode-pa.googleapis.com", "/v1internal:generateContent", [], "gemini-code-assist"),
        ("zai", "api.z.ai", "/api/coding/paas/v4/chat/completions", [], "zai-coding"),
        ("zai", "api.z.ai", "/api/paas/v4/chat/completions", [], ""),
        ("moonshot", "api.kimi.com", "/coding/v1/chat/completions", [], "kimi-coding"),
        ("moonshot", "api.moonshot.ai", "/anthropic/v1/messages", [(b"x-api-key", b"sk-kimi-abc")], "kimi-coding"),
        ("minimax", "api.minimax.io", "/anthropic/v1/messages", [(b"Authorization", b"Bearer sk-cp-abc")], "minimax-coding"),
        ("minimax", "api.minimax.io", "/v1/chat/completions", [(b"Authorization", b"Bearer eyJ")], ""),
        ("alibaba", "coding-intl.dashscope.aliyuncs.com", "/v1/chat/completions", [], "alibaba-coding"),
        (
            "alibaba",
            "dashscope-intl.aliyuncs.com",
            "/compatible-mode/v1/chat/completions",
            [(b"authorization", b"Bearer sk-1")],
            "",
        ),
    ],
)
def test_a_plan_is_told_by_host_path_and_kind_of_credential(
    provider: str, host: str, path: str, fields: list[tuple[bytes, bytes]], plan: str
) -> None:
    assert plan_of(endpoint_for(provider, host, "POST", path), fields) == plan


def test_a_plans_token_beside_a_key_does_not_take_a_call_out_of_the_budgets() -> None:
    endpoint = endpoint_for("anthropic", "api.anthropic.com", "POST", "/v1/messages")
    assert plan_of(endpoint, [OAUTH, KEY]) == ""
    assert plan_of(endpoint, [(b"api-key", b"sk-ant-oat01-fake"), KEY]) == ""


def test_claudes_unified_windows() -> None:
    found = windows_in(
        {
            "anthropic-ratelimit-unified-status": "allowed_warning",
            "anthropic-ratelimit-unified-reset": "1790000000",
            "anthropic-ratelimit-unified-5h-utilization": "0.23",
            "anthropic-ratelimit-unified-5h-reset": "1790000000",
            "anthropic-ratelimit-unified-5h-status": "allowed",
            "anthropic-ratelimit-unified-7d-utilization": "1.02",
            "anthropic-ratelimit-unified-7d-reset": "1790500000",
            "anthropic-ratelimit-unified-fallback-percentage": "0.5",
            "anthropic-ratelimit-unified-overage-status": "rejected",
            "anthropic-ratelimit-requests-remaining": "40",
        }
    )
    assert found == (
        PlanWindow(name="plan", resets_at=1_790_000_000_000_000, status="allowed_warning"),
        PlanWindow(name="5h", used_ppm=230_000, resets_at=1_790_000_000_000_000, status="allowed"),
        PlanWindow(name="7d", used_ppm=1_020_000, resets_at=1_790_500_000_000_000),
    )


def test_codex_windows_by_header_and_by_event_are_the_same() -> None:
    headers = {
        "x-codex-primary-used-percent": "12.5",
        "x-codex-primary-window-minutes": "300",
        "x-codex-primary-reset-after-seconds": "600",
        "x-codex-secondary-used-percent": "73",
        "x-codex-secondary-window-minutes": "10080",
        "x-codex-secondary-reset-at": "1790086400",
        "x-codex-plan-type": "pro",
    }
    wanted = (
        PlanWindow(name="5h", used_ppm=125_000, resets_after_s=600),
        PlanWindow(name="7d", used_ppm=730_000, resets_at=1_790_086_400_000_000),
    )
    assert windows_in(headers) == wanted
    event = {
        "type": "codex.rate_limits",
        "rate_limits": {
            "primary": {"used_percent": "12.5", "window_minutes": 300, "reset_after_seconds": 600},
            "secondary": {"used_percent": 73, "window_minutes": 10080, "reset_at": 1_790_086_400},
        },
    }
    assert windows_of_event(event) == wanted


def test_a_codex_window_of_no_length_is_none_of_this_plan() -> None:
    assert windows_in({"x-codex-secondary-used-percent": "0", "x-codex-secondary-window-minutes": "0"}) == ()


def test_copilots_quota_snapshots_state_what_remains() -> None:
    found = windows_in(
        {
            "x-quota-snapshot-premium_interactions": "ent=300&ov=0.0&ovPerm=false&rem=35.5&rst=2026-04-01T00%3A00%3A00Z",
            "x-quota-snapshot-chat": "ent=-1&ov=0.0&ovPerm=false&rem=100.0",
        }
    )
    assert found == (
        PlanWindow(name="premium_interactions", used_ppm=645_000, resets_at=1_775_001_600_000_000),
        PlanWindow(name="chat", status="unlimited"),
    )


def test_an_event_inside_a_stream_reaches_the_reading() -> None:
    endpoint = endpoint_for("chatgpt", "chatgpt.com", "POST", "/backend-api/codex/responses")
    meter = Meter(endpoint, Ask(model="gpt-5", streamed=True), 200, {"content-type": "text/event-stream"})
    meter.feed(b'data: {"type":"response.created","response":{"id":"r"}}\n\n')
    meter.feed(b'data: {"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":7,"window_minutes":300}}}\n\n')
    assert meter.close(cut=True).plan_windows == (PlanWindow(name="5h", used_ppm=70_000),)


@given(
    st.dictionaries(
        st.sampled_from(
            ["anthropic-ratelimit-unified-5h-utilization", "anthropic-ratelimit-unified-7d-reset", "x-codex-primary-used-percent",
             "x-codex-primary-reset-at", "x-codex-a-b-secondary-window-minutes", "x-quota-snapshot-x", "x-usage-ratelimit-session"]
        ),
        st.text(max_size=60) | st.sampled_from(["1e400", "-1", "NaN", "10" * 30, "rem=1e9&rst=x", "rem=-5", "&" * 50]),
    )
)  # fmt: skip
def test_no_header_value_raises_or_gives_an_absurd_share(headers: dict[str, str]) -> None:
    for window in windows_in(headers):
        assert window.used_ppm is None or 0 <= window.used_ppm <= 10**11
        assert window.resets_at is None or 0 <= window.resets_at < 2**63
        assert window.name.isascii()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["rate_limits", "primary", "used_percent", "reset_at", "window_minutes"]), inner)
        ),
        max_leaves=10,
    )
)
def test_no_event_raises(event: Any) -> None:
    assert len(windows_of_event(event if isinstance(event, dict) else {})) <= MAX_WINDOWS
