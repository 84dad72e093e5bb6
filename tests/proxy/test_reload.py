"""A policy that changes on disk is in force at once, whole; a wrong one changes nothing and says so."""

import asyncio
from pathlib import Path

from proxy.roads import MakeRoad
from tollkeeper.identity.channels import OnNoIdentity
from tollkeeper.proxy.reload import Reload

DAY = '[budget.day]\namount = "5 USD"\nwindow = "day"\n'
ENFORCE = f'mode = "enforce"\n{DAY}'


def look(reload: Reload, times: int = 2) -> list[bool]:
    async def looks() -> list[bool]:
        return [await reload.look() for _ in range(times)]

    return asyncio.run(looks())


def test_a_changed_document_is_in_force_once_it_has_stood_still(make_road: MakeRoad, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(DAY)
    stages = make_road(DAY).stages
    reload = Reload(stages, path)
    assert look(reload) == [False, False]
    path.write_text('on_no_identity = "closed"\n' + ENFORCE)
    assert look(reload, 3) == [False, True, False]
    assert stages.policy.enforces
    assert stages.desk.on_no_identity is OnNoIdentity.REFUSE
    assert stages.counters.policy_reloads == 1


def test_a_document_that_is_still_being_written_is_not_believed(make_road: MakeRoad, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(ENFORCE)
    stages = make_road(ENFORCE).stages
    before, reload = stages.policy, Reload(stages, path)
    for half in ("", "mode", 'mode = "enforce"\n'):
        path.write_text(half)
        assert look(reload, 1) == [False]
    path.write_text(ENFORCE)
    assert look(reload) == [False, False]
    assert stages.policy is before


def test_a_wrong_or_missing_document_leaves_the_old_one_in_force_and_says_so(make_road: MakeRoad, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(ENFORCE)
    stages = make_road(ENFORCE).stages
    before, reload = stages.policy, Reload(stages, path)
    path.write_text('mode = "enforced"\n')
    assert look(reload, 3) == [False] * 3
    assert 'mode = "enforced" is not possible' in stages.counters.policy_error
    path.unlink()
    assert look(reload, 3) == [False] * 3
    assert "is gone" in stages.counters.policy_error
    assert stages.policy is before
    path.write_text(ENFORCE.replace("5 USD", "6 USD"))
    assert look(reload) == [False, True]
    assert stages.counters.policy_error == ""


def test_a_document_that_comes_later_is_taken_up(make_road: MakeRoad, tmp_path: Path) -> None:
    stages = make_road().stages
    reload = Reload(stages, tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text(ENFORCE)
    assert look(reload) == [False, True]
    assert stages.policy.enforces
