"""The transport, with a real ROUTER."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Options
from easel_worker.logs import Logger
from easel_worker.mailbox import Broken, Event, Leave, Lost, Mailbox, Received, TurnedAway
from easel_worker.protocol import (
    Bye,
    Drain,
    Failed,
    Heartbeat,
    Hello,
    Ping,
    Refused,
    Result,
    Timings,
)
from easel_worker.specs import hello
from easel_worker.transport import Address, Transport
from easel_worker.vitals import Vitals
from tests.support.gateway import PATIENCE_S, Gateway, gateway
from tests.support.lines import Lines
from tests.support.samples import generate

MANY = 500  # fewer than a ROUTER holds for a peer before it blocks
HELLO = hello(FakeEngine(Options()).capabilities, "w1")


@pytest.fixture(name="listening")
def _listening(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(f"ipc://{tmp_path}/gw") as listening:
        yield listening


class LeapingClock:
    """A clock that advances by a second at each call."""

    now = 0.0
    leap = 1.0

    def __call__(self) -> float:
        self.now += self.leap
        return self.now


def transport_to(
    listening: Gateway,
    mailbox: Mailbox,
    heartbeat: Callable[[str], Heartbeat] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Transport:
    transport = Transport(
        Address(listening.endpoint, "w1"),
        lambda: HELLO,
        mailbox,
        heartbeat=heartbeat or Vitals().heartbeat,
        log=Logger(sink=Lines()),
        clock=clock,
    )
    transport.start()
    return transport


@pytest.fixture(name="mailbox")
def _mailbox() -> Mailbox:
    return Mailbox(capacity=3)


@pytest.fixture(name="transport")
def _transport(listening: Gateway, mailbox: Mailbox) -> Iterator[Transport]:
    """A transport in session s1."""
    transport = transport_to(listening, mailbox)
    listening.welcome()
    yield transport
    transport.close(flush_s=0)


def take(mailbox: Mailbox, count: int) -> list[Event]:
    """Up to this many events, or fewer if they do not arrive in time."""
    events: list[Event] = []
    end = time.monotonic() + PATIENCE_S
    while len(events) < count and time.monotonic() < end:
        events += mailbox.take(0.1)
    return events


def result(width: int, height: int) -> Result:
    timings = Timings(0.0, 0.0, 0.0, 0.0)
    return Result("r", 0, 1, width, height, timings, bytes(width * height * 3))


@pytest.mark.usefixtures("transport")
def test_messages_become_events_in_order(listening: Gateway, mailbox: Mailbox) -> None:
    listening.send("w1", generate("a"), Drain(1500.0), Refused("protocol", "old"))
    received, *others = take(mailbox, 3)
    assert isinstance(received, Received)
    assert received.message == generate("a")
    assert 0 <= time.monotonic() - received.at < PATIENCE_S
    assert others == [Leave(1.5, "the gateway asked"), TurnedAway("protocol", "old")]


def test_no_message_of_an_old_session_reaches_the_new_one(
    listening: Gateway, mailbox: Mailbox, transport: Transport
) -> None:
    listening.send("w1", Ping("s2"))
    assert isinstance(take(mailbox, 1)[0], Lost)
    transport.send(Failed("old", "internal", ""))
    listening.welcome("s2")
    transport.send(Failed("still old", "internal", ""))
    transport.resume()
    transport.send(Failed("new", "internal", ""))
    assert listening.expect(Failed).id == "new"


def test_a_reader_that_does_not_keep_up_slows_the_gateway_down(
    listening: Gateway, mailbox: Mailbox, transport: Transport
) -> None:
    for index in range(MANY):
        listening.send("w1", generate(f"r{index}"))
    while not mailbox.full:
        time.sleep(0.001)
    transport.send(Failed("x", "internal", ""))
    listening.expect(Failed)
    first = mailbox.take(0)
    assert len(first) < MANY
    rest = take(mailbox, MANY - len(first))
    names = [event.message.id for event in first + rest if isinstance(event, Received)]
    assert names == [f"r{index}" for index in range(MANY)]


def test_close_sends_what_is_queued(listening: Gateway, mailbox: Mailbox) -> None:
    transport = transport_to(listening, mailbox)
    listening.welcome()
    listening.expect(Heartbeat)
    for _ in range(20):
        transport.send(result(1024, 1024))
    transport.send(Bye("done"))
    transport.close()
    _, before = listening.until(Bye)
    assert len([message for message in before if isinstance(message, Result)]) == 20


def test_close_does_not_wait_for_a_missing_gateway(tmp_path: Path) -> None:
    with gateway(f"ipc://{tmp_path}/gw") as gone:
        pass
    transport = transport_to(gone, Mailbox())
    transport.send(Bye("nobody hears it"))
    start = time.monotonic()
    transport.close(flush_s=0.1)
    assert time.monotonic() - start < PATIENCE_S


def test_hello_does_not_pile_up_without_a_gateway(tmp_path: Path) -> None:
    endpoint, clock = f"ipc://{tmp_path}/gw", LeapingClock()
    with gateway(endpoint) as listening:
        pass
    transport = transport_to(listening, Mailbox(), clock=clock)
    while clock.now < 100:
        time.sleep(0.001)
    clock.leap = 0.0
    with gateway(endpoint) as listening:
        listening.welcome()
        _, before = listening.until(Heartbeat)
        assert not any(isinstance(message, Hello) for message in before)
        clock.leap = 1.0
        transport.close(flush_s=0)


def test_a_failure_of_the_thread_ends_the_worker(listening: Gateway, mailbox: Mailbox) -> None:
    def fail(_: str) -> Heartbeat:
        raise RuntimeError("no heartbeat")

    transport = transport_to(listening, mailbox, fail)
    listening.welcome()
    (event,) = take(mailbox, 1)
    assert isinstance(event, Broken)
    assert str(event.error) == "no heartbeat"
    transport.send(Bye("to nobody"))
    transport.close()
