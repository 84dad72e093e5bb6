"""A port that cannot be had is said with its remedy, before anything is opened."""

import socket
from pathlib import Path

import pytest

from tollkeeper.core.errors import GateError
from tollkeeper.proxy.listener import check_free, sole


def test_a_port_that_is_taken_is_refused_with_our_own_options_as_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(GateError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*--port N"):
            check_free("127.0.0.1", port)
    check_free("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused_with_what_to_change() -> None:
    with pytest.raises(GateError, match=r"no interface of this machine has that address.*--host"):
        check_free("203.0.113.5", 0)


def test_two_proxies_cannot_share_a_state_file_and_the_next_can_have_it(tmp_path: Path) -> None:
    state = tmp_path / "proxy.json"
    with sole(state), pytest.raises(GateError, match="another proxy"), sole(state):
        pass
    with sole(state):
        assert state.with_name("proxy.json.lock").stat().st_mode & 0o777 == 0o600
