"""The repairs of mitmproxy's HTTP core."""

import json

from tollkeeper.proxy.repairs import json_error, skip_informational

FINAL = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_informational_answers_before_the_final_one_are_skipped() -> None:
    assert skip_informational(CONTINUE + EARLY_HINTS + FINAL) == len(CONTINUE + EARLY_HINTS)


def test_an_incomplete_informational_answer_is_waited_for() -> None:
    assert skip_informational(EARLY_HINTS[:-1]) == 0


def test_a_protocol_switch_is_a_final_answer() -> None:
    assert skip_informational(b"HTTP/1.1 101 Switching Protocols\r\n\r\n") == 0


def test_a_body_that_looks_like_an_answer_is_left_alone() -> None:
    assert skip_informational(FINAL + EARLY_HINTS) == 0


def test_an_unreachable_provider_is_reported_in_json_that_both_sdk_families_read() -> None:
    head, _, body = json_error(502, "Connect call failed").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502")
    answer = json.loads(body)
    assert answer["type"] == "error"
    assert "Connect call failed" in answer["error"]["message"]
