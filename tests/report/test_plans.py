"""Plan windows as people read them."""

from zoneinfo import ZoneInfo

from tollkeeper.cli.status import lines
from tollkeeper.ledger.plan_windows import PlanStanding
from tollkeeper.report.plans import OLD_US, percent, plan_lines

NOW = 1_795_348_800_000_000  # 2026-11-22 12:00 UTC
HOUR = 3_600_000_000


def window(name: str, used: int | None = None, resets_at: int | None = None, status: str = "", at: int = NOW) -> PlanStanding:
    return PlanStanding(subject="ada", plan="claude", name=name, used_ppm=used, resets_at=resets_at, status=status, at=at)


def test_a_plans_windows_stand_in_one_line() -> None:
    windows = [window("5h", 230_000, NOW + HOUR, "allowed"), window("7d", 1_020_000, None, "rejected")]
    assert plan_lines(windows, NOW, ZoneInfo("Europe/Rome")) == [
        "plan claude (ada): 5h 23 % used, resets 2026-11-22 14:00 · 7d 102 % used rejected"
    ]


def test_windows_that_are_over_and_figures_that_are_old_are_left_out() -> None:
    assert plan_lines([window("5h", 1, NOW - 1), window("7d", 1, None, at=NOW - OLD_US - 1)], NOW, ZoneInfo("UTC")) == []


def test_what_is_not_known_is_no_zero() -> None:
    assert (percent(None), percent(0)) == ("–", "0 %")


def test_status_shows_each_window_and_none_for_a_proxy_that_knows_none() -> None:
    state = {
        "started_at": NOW, "mode": "observe", "pid": 1, "calls": 0, "inflight": 0, "refused": 0, "rewritten": 0, "unmetered": 0,
        "tunnelled": 0, "faults": 0, "ledger_errors": 0, "untrusting_hosts": {}, "policy": "", "ledger": "l", "last_fault": "",
    }  # fmt: skip
    assert not any(line.startswith("plan ") for line in lines(state, answers=True, url="u"))
    shown = {
        "principal": "ada",
        "plan": "chatgpt",
        "window": "5h",
        "used_ppm": 125_000,
        "resets_at": None,
        "status": "",
        "at": NOW,
    }
    state["plan_windows"] = {"chatgpt/5h": shown, "chatgpt/7d": {**shown, "window": "7d", "resets_at": 1_000_000}}
    found = [line for line in lines(state, answers=True, url="u") if line.startswith("plan ")]
    assert found == ["plan chatgpt (ada): 5h 12 % used", "plan chatgpt (ada): 7d 12 % used, has been reset since"]
