"""Invalid messages that a broken or hostile gateway may send."""

import json
from typing import Any

from hypothesis import strategies as st

from easel_worker.codec import BadMessage, pack, unpack
from easel_worker.protocol import FROM_GATEWAY, MAX_HEADER_BYTES, Cancel, Generate, Message
from tests.make_golden import GOOD_TO_GATEWAY, GOOD_TO_WORKER

Frames = list[bytes]

MESSAGES: list[Message] = [*GOOD_TO_GATEWAY.values(), *GOOD_TO_WORKER.values()]
ODD_VALUES = [
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"0.5", b"1" + b"0" * 30, b"9" * 5000),
    *(b"null", b"true", b'""', b'"' + b"x" * 300 + b'"', b"[]", b"{}", b"[" * 2000, b"\xff\xfe"),
]
"""Valid and invalid JSON values to replace right ones."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places in a JSON value that can be replaced."""
    inner: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        inner = [p for key in value for p in places(value[key], (*path, key))]
    elif isinstance(value, list):
        inner = [p for index, item in enumerate(value) for p in places(item, (*path, index))]
    return [path, *inner] if path else inner


def frames_of(message: Message) -> Frames:
    """Return a message as bytes."""
    return [bytes(frame) for frame in pack(message)]


@st.composite
def truncated(draw: st.DrawFn) -> Frames:
    """Return a message with one frame cut short, or without its last frames."""
    frames = frames_of(draw(st.sampled_from(MESSAGES)))
    kept = frames[: draw(st.integers(1, len(frames)))]
    which = draw(st.integers(0, len(kept) - 1))
    kept[which] = kept[which][: draw(st.integers(0, len(kept[which])))]
    return kept


@st.composite
def flipped(draw: st.DrawFn) -> Frames:
    """Return a message with one byte changed: another kind or version, broken JSON or UTF-8."""
    frames = [bytearray(frame) for frame in frames_of(draw(st.sampled_from(MESSAGES)))]
    frame = frames[draw(st.integers(0, len(frames) - 1))]
    frame[draw(st.integers(0, len(frame) - 1))] ^= draw(st.integers(1, 255))
    return [bytes(frame) for frame in frames]


@st.composite
def mistyped(draw: st.DrawFn) -> Frames:
    """Return a message with one header value replaced: wrong types, huge numbers, NaN."""
    prefix, header, *binary = frames_of(draw(st.sampled_from(MESSAGES)))
    values = json.loads(header)
    *path, last = draw(st.sampled_from(places(values)))
    owner = values
    for key in path:
        owner = owner[key]
    owner[last] = "HERE"
    odd = draw(st.sampled_from(ODD_VALUES))
    return [prefix, json.dumps(values).encode().replace(b'"HERE"', odd), *binary]


@st.composite
def oversized(draw: st.DrawFn) -> Frames:
    """Return a message whose header exceeds the maximum length."""
    prefix, header, *binary = frames_of(draw(st.sampled_from(MESSAGES)))
    return [prefix, header + b" " * MAX_HEADER_BYTES, *binary]


noise = st.lists(st.binary(max_size=40), min_size=1, max_size=4)

anything = st.one_of(truncated(), flipped(), mistyped(), noise)
"""All except `oversized`, which is slow."""


def effect(frames: Frames) -> str:
    """Return a worker's expected reaction: `drop`, `work`, or `obey` for other valid messages."""
    try:
        message = unpack(frames, FROM_GATEWAY)
    except BadMessage:
        return "drop"
    return "work" if isinstance(message, Generate | Cancel) else "obey"
