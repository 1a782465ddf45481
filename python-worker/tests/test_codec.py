"""The codec: invalid frames are refused and do nothing else."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easel_worker.codec import BadMessage, pack, unpack
from easel_worker.protocol import (
    FROM_GATEWAY,
    FROM_WORKER,
    MAX_HEADER_BYTES,
    Cancel,
    Generate,
    Progress,
    Refused,
    Result,
    Timings,
)
from tests.make_golden import GENERATE, GOOD_TO_GATEWAY, GOOD_TO_WORKER, header_of
from tests.support.garbage import places
from tests.support.samples import generate
from tests.support.schema import SCHEMA, VALIDATORS

EVERY = FROM_GATEWAY | FROM_WORKER
SAMPLES = [*GOOD_TO_GATEWAY.values(), *GOOD_TO_WORKER.values()]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=70),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(data=st.data(), sample=st.sampled_from(SAMPLES), new=json_values, delete=st.booleans())
def test_the_types_and_the_schema_accept_the_same_headers(
    data: st.DataObject, sample: Any, new: Any, delete: bool
) -> None:
    header = header_of(sample)
    *path, last = data.draw(st.sampled_from(places(header)))
    owner = header
    for key in path:
        owner = owner[key]
    if delete:
        del owner[last]
    else:
        owner[last] = new
    assert is_accepted(sample, header) == VALIDATORS[sample.kind].is_valid(header)


def is_accepted(sample: Any, header: Any) -> bool:
    """Whether the message is read with this header in place of its own."""
    prefix, _, *binary = pack(sample)
    try:
        unpack([prefix, json.dumps(header).encode(), *binary], EVERY)
    except BadMessage as error:
        return error.code in ("binary_count", "binary_size")  # another picture than announced
    return True


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_the_types_and_the_schema_have_the_same_limits(sample: Any) -> None:
    for path, value in around_limits(VALIDATORS[sample.kind].schema, header_of(sample)):
        header = header_of(sample)
        *outer, last = path
        owner = header
        for key in outer:
            owner = owner[key]
        owner[last] = value
        valid = VALIDATORS[sample.kind].is_valid(header)
        assert is_accepted(sample, header) == valid, f"{path} is {value!r:.60}"


def around_limits(schema: Any, sample: Any, path: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Paths, and values at and just beyond each limit that the schema has there.

    Descends into the sample's objects and first list items, and covers absent fields.
    """
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        yield from around_limits(choice, sample, path)
    if isinstance(sample, dict):
        for key, part in schema.get("properties", {}).items():
            yield from around_limits(part, sample.get(key), (*path, key))
    if "items" in schema and isinstance(sample, list) and sample:
        yield from around_limits(schema["items"], sample[0], (*path, 0))
    near = (-1, 0, 1) if schema.get("type") == "integer" else (-0.5, 0, 0.5)
    for name in ("minimum", "maximum"):
        yield from ((path, schema[name] + by) for by in near if name in schema)
    for name in ("minLength", "maxLength"):
        yield from ((path, "x" * (schema[name] + by)) for by in (-1, 0, 1) if name in schema)
    for name in ("minItems", "maxItems"):
        if name in schema and isinstance(sample, list) and sample:
            yield from ((path, sample[:1] * (schema[name] + by)) for by in (-1, 0, 1))


@settings(max_examples=200)
@given(frames=st.lists(st.binary(max_size=40), max_size=4))
def test_random_frames_are_messages_or_bad(frames: list[bytes]) -> None:
    with pytest.raises(BadMessage):
        unpack(frames, FROM_GATEWAY)


@given(kind=st.sampled_from(list(EVERY)), header=json_values | st.binary(max_size=60))
def test_random_headers_are_messages_or_bad(kind: int, header: Any) -> None:
    frame = header if isinstance(header, bytes) else json.dumps(header).encode()
    try:
        message = unpack([bytes((kind, 1)), frame], EVERY)
    except BadMessage:
        return
    assert message.kind == kind


@given(cut=st.integers(0, 10_000), flip=st.integers(0, 255))
def test_damaged_frames_are_messages_or_bad(cut: int, flip: int) -> None:
    prefix, header = (bytearray(frame) for frame in pack(GENERATE))
    header[cut % len(header)] ^= flip
    with contextlib.suppress(BadMessage):
        assert isinstance(unpack([bytes(prefix), bytes(header)], FROM_GATEWAY), Generate)


def test_a_header_over_the_limit_is_not_read() -> None:
    header = b'{"session":"' + b"x" * MAX_HEADER_BYTES + b'"}'
    with pytest.raises(BadMessage) as caught:
        unpack([b"\x83\x01", header], FROM_GATEWAY)
    assert caught.value.code == "header_size"


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 500_000,
        b'{"session":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"session":' + b"9" * 5000 + b"}",
        b'{"session":1e999}',
        b'{"session":"\\ud800"}' * 2,
    ],
    ids=["deep", "nested", "long-number", "infinite", "two-values"],
)
def test_hostile_json_is_bad(header: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack([b"\x83\x01", header], FROM_GATEWAY)


def test_a_gateway_of_another_version_can_refuse() -> None:
    _, header = pack(Refused("protocol", "speak version 2"))
    assert unpack([b"\x82\x02", header], FROM_GATEWAY) == Refused("protocol", "speak version 2")
    with pytest.raises(BadMessage) as caught:
        unpack([b"\x82\x02", header], FROM_WORKER)
    assert caught.value.code == "kind"


def test_a_number_too_large_for_a_double_is_bad() -> None:
    header = json.dumps(header_of(generate("r")) | {"guidance": 10**400}).encode()
    with pytest.raises(BadMessage, match=r"out of range - at `\$\.guidance`"):
        unpack([b"\x84\x01", header], FROM_GATEWAY)


def test_lone_surrogates_survive_a_round_trip() -> None:
    message = unpack([b"\x85\x01", b'{"id":"\\ud800"}'], FROM_GATEWAY)
    assert message == Cancel("\ud800")
    assert pack(message)[1] == b'{"id":"\\ud800"}'


def test_errors_name_the_field_and_what_was_expected() -> None:
    header = header_of(generate("r")) | {"seeds": [1, 2, -3]}
    with pytest.raises(BadMessage) as caught:
        unpack([b"\x84\x01", json.dumps(header).encode()], FROM_GATEWAY)
    assert str(caught.value) == "header_field: Generate: Expected `int` >= 0 - at `$.seeds[2]`"


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_that_is_infinite_as_a_double_is_bad(number: str) -> None:
    header = json.dumps(header_of(generate("r")) | {"guidance": "HERE"}).replace('"HERE"', number)
    with pytest.raises(BadMessage, match=r"at `\$\.guidance`") as caught:
        unpack([b"\x84\x01", header.encode()], FROM_GATEWAY)
    assert caught.value.code == "header_field"


def test_pixels_in_the_header_are_ignored() -> None:
    result = Result("r", 0, 1, 3, 2, Timings(0.0, 0.0, 0.0, 0.0), bytes(18))
    prefix, _, picture = pack(result)
    header = json.dumps(header_of(result) | {"pixels": 5}).encode()
    assert unpack([prefix, header, picture], FROM_WORKER) == result


def test_a_field_name_with_a_lone_surrogate_is_bad() -> None:
    with pytest.raises(BadMessage) as caught:
        unpack([b"\x85\x01", b'{"id":"a","\\ud800":1}'], FROM_GATEWAY)
    assert caught.value.code == "header_field"


def test_absent_optional_fields_stay_absent() -> None:
    assert "timeout_ms" not in header_of(generate("r"))
    assert header_of(generate("r"))["negative"] is None
    assert unpack(pack(generate("r")), FROM_GATEWAY) == generate("r")


def test_pixels_are_not_copied() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    result = Result("r", 0, 1, 3, 2, Timings(0.0, 0.0, 0.0, 0.0), pixels.data.cast("B"))
    frame = pack(result)[2]
    pixels[:] = 7
    assert bytes(frame) == b"\7" * 18


def test_a_progress_without_a_preview_has_no_binary_frame() -> None:
    assert len(pack(Progress("r", 0, "encoding", 0, 4))) == 2
