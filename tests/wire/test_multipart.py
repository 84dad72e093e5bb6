"""Forms: their fields and files are found whatever stands in them, and a rewrite changes one field only."""

import random
from email.message import EmailMessage
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.errors import WireError
from tollkeeper.wire.multipart import MAX_FIELD_BYTES, MAX_PARTS, Upload, fields, is_multipart, parts, set_field
from tollkeeper.wire.request import read_ask, set_model
from tollkeeper.wire.routes import endpoint_for

TRANSCRIBE = endpoint_for("openai", "api.openai.com", "POST", "/v1/audio/transcriptions")
EDIT = endpoint_for("azure", "h", "POST", "/openai/deployments/painter/images/edits?api-version=2025-04-01-preview")
CHAT = endpoint_for("openai", "api.openai.com", "POST", "/v1/chat/completions")

type Field = tuple[str, bytes] | tuple[str, bytes, str]


def form(*items: Field, boundary: str = "xYzZY") -> bytes:
    """A form as httpx and browsers write it."""
    out = []
    for item in items:
        file = f'; filename="{item[2]}"' if len(item) == 3 else ""
        kind = "\r\nContent-Type: application/octet-stream" if file else ""
        out.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{item[0]}"{file}{kind}\r\n\r\n'.encode() + item[1] + b"\r\n"
        )
    return b"".join(out) + f"--{boundary}--\r\n".encode()


def test_fields_are_text_and_files_are_views_of_the_body() -> None:
    sound = bytes(range(256)) * 9
    body = form(("model", b"whisper-1"), ("file", sound, "a.wav"), ("prompt", "h\u00e9".encode()))
    found = fields(body)
    assert found["model"] == "whisper-1"
    assert found["prompt"] == "hé"
    upload = found["file"]
    assert isinstance(upload, Upload)
    assert (upload.size, bytes(upload.view), upload.view.obj) == (len(sound), sound, body)
    assert "view" not in repr(upload)


def test_repeated_fields_and_bracketed_names_are_lists() -> None:
    found = fields(
        form(("image[]", b"1", "a.png"), ("image[]", b"22", "b.png"), ("include[]", b"logprobs"), ("n", b"1"), ("n", b"2"))
    )
    images = found["image"]
    assert isinstance(images, list)
    assert [one.size for one in images if isinstance(one, Upload)] == [1, 2]
    assert (found["include"], found["n"]) == (["logprobs"], ["1", "2"])


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.binary(max_size=200), st.sampled_from(["", "x.bin"])),
        max_size=6,
    )
)
def test_whatever_stands_in_the_parts_they_are_found_again(items: list[tuple[str, bytes, str]]) -> None:
    boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
    written: list[Field] = [(name, data, file) if file else (name, data) for name, data, file in items]
    body = form(*written, boundary=boundary)
    found = [(part.name, body[part.start : part.end], part.is_file) for part in parts(body)]
    assert found == [(name, data, bool(file)) for name, data, file in items]


@given(st.binary(max_size=400))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    for whole in (body, b"--b\r\n" + body, b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + body, b"--" + body):
        assert len(list(parts(whole))) <= MAX_PARTS
        assert read_ask(TRANSCRIBE, whole).input_bytes >= 0


def test_a_form_cut_anywhere_or_changed_anywhere_is_read_without_raising() -> None:
    whole = form(("model", b"m"), ("file", b"\0" * 40, "a.mp3"), ("n", b"3"))
    for end in range(len(whole)):
        fields(whole[:end])
    chance = random.Random(7)
    for _ in range(300):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] = chance.randrange(256)
        assert all(count > 0 for count in read_ask(TRANSCRIBE, bytes(broken)).units.values())


def test_another_writer_of_forms_is_read_alike() -> None:
    """Encoded names, single parameters in any order and folded headers, as the standard library writes them."""
    message = EmailMessage(policy=HTTP)
    message.add_header("Content-Disposition", "form-data", filename="sound of \u00e9t\u00e9.mp3", name="file")
    head = bytes(message).split(b"\r\n\r\n", 1)[0]
    body = b"--q\r\n" + head + b"\r\n\r\nabc\r\n--q--\r\n"
    assert [(part.name, part.is_file, part.size) for part in parts(body)] == [("file", True, 3)]


def test_parts_and_fields_have_limits() -> None:
    assert len(list(parts(form(*(("n", b"1") for _ in range(MAX_PARTS + 20)))))) == MAX_PARTS
    prompt = fields(form(("prompt", b"p" * (MAX_FIELD_BYTES + 5))))["prompt"]
    assert isinstance(prompt, str)
    assert len(prompt) == MAX_FIELD_BYTES
    assert not is_multipart(b"--" + b"b" * 200 + b"\r\n")


def test_only_a_form_is_taken_for_one() -> None:
    assert is_multipart(b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n')
    assert not any(map(is_multipart, (b"", b"--", b"--\r\n", b'{"a":1}', b"-- no line end")))
    assert read_ask(CHAT, form(("model", b"gpt-4o"))).model == "gpt-4o"


def test_the_model_of_a_form_is_rewritten_and_nothing_else() -> None:
    before = form(("file", b"\r\nmodel\r\n", "m.mp3"), ("model", b"gpt-4o-transcribe"), ("language", b"en"))
    path, after = set_model(TRANSCRIBE, "/v1/audio/transcriptions", before, "gpt-4o-mini-transcribe")
    assert path == "/v1/audio/transcriptions"
    assert after == before.replace(b"gpt-4o-transcribe", b"gpt-4o-mini-transcribe")


def test_a_form_without_a_model_gets_one_unless_the_path_names_it() -> None:
    before = form(("prompt", b"a cat"))
    _, after = set_model(TRANSCRIBE, "/v1/audio/transcriptions", before, "whisper-1")
    assert fields(after) == {"model": "whisper-1", "prompt": "a cat"}
    path, same = set_model(EDIT, "/openai/deployments/painter/images/edits?api-version=x", before, "sketcher")
    assert (path, same) == ("/openai/deployments/sketcher/images/edits?api-version=x", before)


@pytest.mark.parametrize(("body", "value"), [(b'{"a":1}', "m"), (form(("a", b"1")), "m\r\n--xYzZY--")])
def test_what_cannot_be_rewritten_says_so(body: bytes, value: str) -> None:
    with pytest.raises(WireError, match="multipart"):
        set_field(body, "model", value)
