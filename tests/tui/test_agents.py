"""The tree of agents adds up: a session is all of its agents, an agent all it started."""

from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.tui.agents import label, tree_of
from tollkeeper.tui.look import Look
from tui.samples import group

NAMES = st.sampled_from(["", "a", "b", "c", "main"])


def test_agents_stand_under_those_that_started_them() -> None:
    rows = [
        group("s1", "", "", cost=10),
        group("s1", "", "explore", cost=5),
        group("s1", "explore", "deeper", cost=7),
        group("s2", "", "", cost=50),
    ]
    tree = tree_of(rows)
    assert [(node.keys, node.exposure_nanousd) for node in tree] == [
        (("s2",), 50),
        (("s1",), 22),
        (("s1", "explore"), 12),
        (("s1", "explore", "deeper"), 7),
    ]
    assert [label(node.keys, Look()) for node in tree] == ["s2", "s1", "↳ explore", "  ↳ deeper"]


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, st.integers(1, 100)), max_size=20))
def test_sessions_add_up_to_everything_even_when_agents_claim_to_be_their_own_ancestors(
    calls: list[tuple[str, str, str, int]],
) -> None:
    tree = tree_of(group(session, parent, agent, cost=cost) for session, parent, agent, cost in calls)
    roots = [node for node in tree if len(node.keys) == 1]
    assert sum(node.exposure_nanousd for node in roots) == sum(cost for *_, cost in calls)
    assert len({node.keys for node in tree}) == len(tree)


def test_a_call_without_a_session_says_so() -> None:
    assert label(("",), Look()) == "– no session"
