"""The session as protocol/README.md describes it; no socket and no real time."""

import pytest

from easel_worker.protocol import Cancel, Drain, Ping, Refused, Welcome
from easel_worker.session import Act, Beat, Begin, Deliver, End, Reconnect, SayHello, Session
from tests.support.samples import generate

WELCOME = Welcome("s1", 1000.0)


def live(heartbeat_ms: float = 1000.0) -> Session:
    """A session that became live at time 0."""
    session = Session(0.0)
    session.tick(0.0)
    session.receive(Welcome("s1", heartbeat_ms), 0.0)
    return session


def kinds(acts: list[Act]) -> list[type[Act]]:
    return [type(act) for act in acts]


def test_it_sends_hello_at_once_and_every_second_until_welcome() -> None:
    session = Session(100.0)
    assert session.due == 100.0
    assert session.tick(100.0) == [SayHello()]
    assert session.due == 101.0
    assert session.tick(100.9) == []
    assert session.tick(101.0) == [SayHello()]
    assert session.receive(WELCOME, 101.1) == [Begin("s1"), Beat("s1")]
    assert session.tick(101.2) == []


def test_without_an_answer_it_reconnects_every_ten_seconds() -> None:
    session = Session(0.0)
    assert [now for now in range(35) if Reconnect() in session.tick(float(now))] == [10, 20, 30]
    session.receive(Ping("a session that it does not know"), 35.0)
    assert [now for now in range(36, 60) if Reconnect() in session.tick(float(now))] == [45, 55]


def test_it_sends_heartbeats_at_the_gateways_interval() -> None:
    session = live(heartbeat_ms=200.0)
    assert session.due == pytest.approx(0.2)
    assert session.tick(0.19) == []
    assert session.tick(0.2) == [Beat("s1")]
    assert session.tick(0.3) == []
    assert session.tick(0.4) == [Beat("s1")]


def test_an_unknown_session_in_a_ping_ends_the_session() -> None:
    session = live()
    acts = session.receive(Ping("s2"), 3.0)
    assert kinds(acts) == [End, SayHello]
    assert session.receive(Welcome("s2", 1000.0), 3.1) == [Begin("s2"), Beat("s2")]


def test_its_own_session_in_a_ping_keeps_it_alive() -> None:
    session = live()
    for now in range(1, 60):
        session.receive(Ping("s1"), float(now))
        assert session.tick(float(now)) == [Beat("s1")]


@pytest.mark.parametrize(
    ("heartbeat_ms", "patience"), [(100.0, 10.0), (1000.0, 10.0), (3000.0, 15.0)]
)
def test_silence_of_five_intervals_but_at_least_ten_seconds_ends_the_session(
    heartbeat_ms: float, patience: float
) -> None:
    session = live(heartbeat_ms)
    session.receive(Ping("s1"), 2.0)
    assert End not in kinds(session.tick(2.0 + patience - 0.01))
    assert kinds(session.tick(2.0 + patience)) == [End, Reconnect, SayHello]


def test_after_a_freeze_old_pings_do_not_hide_the_silence() -> None:
    session = live()
    assert kinds(session.tick(60.0)) == [End, Reconnect, SayHello]
    assert session.receive(Ping("s1"), 60.0) == []


def test_outside_a_session_it_drops_requests_but_obeys_drain() -> None:
    session = Session(0.0)
    assert session.receive(generate("a"), 0.0) == []
    assert session.receive(Cancel("a"), 0.0) == []
    assert session.receive(Drain(10.0), 0.0) == [Deliver(Drain(10.0))]
    refused = Refused("tokenizer", "no")
    assert session.receive(refused, 0.0) == [Deliver(refused)]


def test_in_a_session_requests_are_delivered() -> None:
    session = live()
    assert session.receive(generate("a"), 1.0) == [Deliver(generate("a"))]
    assert session.receive(Cancel("a"), 1.0) == [Deliver(Cancel("a"))]


def test_a_second_welcome_with_another_session_ends_the_first() -> None:
    acts = live().receive(Welcome("s2", 500.0), 1.0)
    assert kinds(acts) == [End, Begin, Beat]
    assert acts[2] == Beat("s2")


def test_a_repeated_welcome_keeps_the_requests() -> None:
    assert live().receive(Welcome("s1", 500.0), 1.0) == [Beat("s1")]
