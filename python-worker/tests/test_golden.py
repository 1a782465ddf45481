"""The golden messages: files, schema and codec agree."""

import base64
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from easel_worker.codec import BadMessage, pack, unpack
from easel_worker.protocol import FROM_GATEWAY, FROM_WORKER, Message
from tests.make_golden import FOLDER, goldens, header_of, text_of
from tests.support.schema import SCHEMA, VALIDATORS

GOLDENS = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
GOOD = [golden for golden in GOLDENS if golden["valid"]]
BAD = [golden for golden in GOLDENS if not golden["valid"]]
NAME = lambda golden: golden["name"]  # noqa: E731 - pytest wants a function


def _frames(golden: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(frame) for frame in golden["frames"]]


def _unpack(golden: dict[str, Any]) -> Message:
    if golden["direction"] == "to-gateway":
        return unpack(_frames(golden), FROM_WORKER)
    return unpack(_frames(golden), FROM_GATEWAY)


def test_the_files_are_up_to_date() -> None:
    made = {f"{golden['name']}.json": text_of(golden) for golden in goldens()}
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == made


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_kind_has_a_golden() -> None:
    kinds = {message.__name__.upper() for message in (FROM_WORKER | FROM_GATEWAY).values()}
    assert {golden["kind"] for golden in GOOD} == kinds


@pytest.mark.parametrize("golden", GOOD, ids=NAME)
def test_valid_messages_are_read(golden: dict[str, Any]) -> None:
    message = _unpack(golden)
    assert type(message).__name__.upper() == golden["kind"]
    header = header_of(message)
    assert header == header | golden["message"]
    assert [bytes(frame) for frame in pack(message)[2:]] == _frames(golden)[2:]
    assert _unpack(golden | {"frames": [base64.b64encode(f) for f in pack(message)]}) == message


@pytest.mark.parametrize("golden", GOOD, ids=NAME)
def test_valid_headers_fit_the_schema(golden: dict[str, Any]) -> None:
    prefix, header, *_ = _frames(golden)
    VALIDATORS[prefix[0]].validate(json.loads(header))


@pytest.mark.parametrize("golden", BAD, ids=NAME)
def test_invalid_messages_get_their_code(golden: dict[str, Any]) -> None:
    with pytest.raises(BadMessage) as caught:
        _unpack(golden)
    assert caught.value.code == golden["error"]


@pytest.mark.parametrize(
    "golden", [golden for golden in BAD if golden["error"] == "header_field"], ids=NAME
)
def test_invalid_headers_do_not_fit_the_schema(golden: dict[str, Any]) -> None:
    prefix, header = _frames(golden)
    assert not VALIDATORS[prefix[0]].is_valid(json.loads(header))
