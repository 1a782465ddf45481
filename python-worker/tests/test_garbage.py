"""Invalid messages over a real socket: the worker drops them, keeps no state, and continues."""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Options
from easel_worker.logs import Logger
from easel_worker.loop import Loop
from easel_worker.mailbox import Leave, Mailbox
from easel_worker.protocol import MAX_PICTURE_BYTES, Heartbeat, Ping, Result
from easel_worker.session import SILENT_AT_LEAST_S
from easel_worker.specs import hello
from easel_worker.transport import Address, Transport
from easel_worker.vitals import Vitals
from tests.support.garbage import Frames, anything, effect, oversized
from tests.support.gateway import Gateway, gateway
from tests.support.lines import Lines
from tests.support.samples import SMALL, generate, is_answer


class Rig:
    """A worker's transport and loop in this process, with a fake engine that takes no time."""

    def __init__(self, listening: Gateway) -> None:
        at_once = {"fake_step_ms": 0, "fake_encode_ms": 0, "fake_decode_ms": 0}
        engine = FakeEngine(Options(**at_once, sizes=(SMALL,), rows=4))
        self._gateway = listening
        self.ahead_s = 0.0
        self._numbers = itertools.count()
        self._log = Lines()
        self._mailbox, vitals, log = Mailbox(), Vitals(), Logger(sink=self._log)
        self.transport = Transport(
            Address(listening.endpoint, "w1"),
            lambda: hello(engine.capabilities, "w1"),
            self._mailbox,
            heartbeat=vitals.heartbeat,
            log=log,
            clock=lambda: time.monotonic() + self.ahead_s,
        )
        self.loop = Loop(engine, self.transport, self._mailbox, vitals=vitals, log=log)
        self._thread = threading.Thread(target=self.loop.run, daemon=True)

    def start(self) -> None:
        """Serve in a session."""
        self.transport.start()
        self._thread.start()
        self.begin("s1")

    def begin(self, session: str) -> None:
        """Begin a session."""
        self._gateway.welcome(session, heartbeat_ms=5.0)
        self._session = session

    def stop(self) -> None:
        """Stop the worker."""
        self._mailbox.put(Leave(0.0, "the test is over"))
        self._thread.join()
        self.transport.close(flush_s=0)

    def send(self, garbage: list[Frames]) -> None:
        """Send frames, except valid messages that would make the worker exit."""
        for frames in garbage:
            if effect(frames) != "obey":
                self._gateway.send_frames("w1", frames)

    def answers(self) -> None:
        """Request an image and check it; then nothing is left to do."""
        asked = generate(f"sound {next(self._numbers)}", 5)
        self._gateway.send("w1", Ping(self._session), asked)
        assert is_answer(self._gateway.expect(Result, lambda m: m.id == asked.id), asked)
        self._gateway.expect(Heartbeat, lambda m: (m.rows_in_use, m.queued) == (0, 0))

    @property
    def dropped(self) -> int:
        """How many messages were dropped."""
        return self.transport._bad_total

    def kept(self) -> dict[str, Any]:
        """State that is left over, by where it is."""
        loop, transport = self.loop, self.transport
        places = {
            "requests": loop._scheduler._requests,
            "waiting": loop._scheduler._waiting,
            "running": loop._scheduler._running,
            "mailbox": self._mailbox._events,
            "outbox": [frames for frames in transport._outbox._queue if frames[0][0] != 2],
        }
        return {place: content for place, content in places.items() if content}

    def warnings(self) -> list[dict[str, Any]]:
        """Log lines above the level info."""
        return [line for line in self._log.read() if line["level"] > 30]


@pytest.fixture(name="listening", scope="module")
def _listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(f"ipc://{tmp_path_factory.mktemp('rig')}/gw") as listening:
        yield listening


@pytest.fixture(name="rig", scope="module")
def _rig(listening: Gateway) -> Iterator[Rig]:
    rig = Rig(listening)
    rig.start()
    rig.answers()
    yield rig
    rig.stop()


def check(rig: Rig, garbage: list[Frames]) -> None:
    """Send garbage and check that it is dropped and counted and leaves no state."""
    before = rig.dropped
    rig.send(garbage)
    rig.answers()
    assert rig.dropped - before == [effect(frames) for frames in garbage].count("drop")
    assert rig.kept() == {}
    told = [line["msg"].partition(";")[0] for line in rig.warnings()]
    assert told.count("dropped a bad message") == (rig.dropped > 0), "once in a session"


@settings(max_examples=300)
@given(garbage=st.lists(anything, min_size=1, max_size=8))
def test_garbage_is_dropped_and_counted_and_leaves_no_state(
    rig: Rig, garbage: list[Frames]
) -> None:
    check(rig, garbage)


@settings(max_examples=10)
@given(garbage=st.lists(oversized(), min_size=1, max_size=2))
def test_headers_over_the_limit_are_dropped(rig: Rig, garbage: list[Frames]) -> None:
    check(rig, garbage)


def test_a_frame_over_the_limit_closes_the_connection_and_the_worker_reconnects(
    rig: Rig, listening: Gateway
) -> None:
    """ZeroMQ drops the frame before it becomes a message, and would not reconnect by itself."""
    before = rig.dropped
    listening.send_frames("w1", [b"\x84\x01", bytes(MAX_PICTURE_BYTES + 1)])
    listening.until_unreachable("w1")
    rig.ahead_s += SILENT_AT_LEAST_S  # as if it had heard nothing for so long
    rig.begin("s2")
    rig.answers()
    assert (rig.dropped, rig.kept()) == (before, {})
