"""The worker's side of a session: a pure state machine. Time and messages go in, actions come out.

While greeting it sends HELLO until WELCOME or REFUSED arrives. While live it sends HEARTBEAT and
expects PING. A PING of an unknown session, or silence, ends the session and starts greeting again.
After silence it also reconnects: ZeroMQ reconnects by itself after a lost connection, but not after
a protocol error such as a frame over the limit.
"""

from dataclasses import dataclass

from easel_worker.protocol import Cancel, Drain, FromGateway, Generate, Ping, Refused, Welcome

HELLO_EVERY_S = 1.0
SILENT_INTERVALS = 5
SILENT_AT_LEAST_S = 10.0


@dataclass(frozen=True)
class SayHello:
    """Send HELLO now."""


@dataclass(frozen=True)
class Reconnect:
    """Close the socket and open a new one."""


@dataclass(frozen=True)
class Beat:
    """Send a HEARTBEAT of this session now."""

    session: str


@dataclass(frozen=True)
class Deliver:
    """Pass the message to the loop."""

    message: Generate | Cancel | Drain | Refused


@dataclass(frozen=True)
class End:
    """The session is over: drop running requests and unsent messages."""

    reason: str


@dataclass(frozen=True)
class Begin:
    """A session has started."""

    session: str


Act = SayHello | Reconnect | Beat | Deliver | End | Begin


@dataclass(frozen=True)
class _Live:
    session: str
    interval_s: float
    beat_due: float
    heard: float

    @property
    def silent_at(self) -> float:
        return self.heard + max(SILENT_INTERVALS * self.interval_s, SILENT_AT_LEAST_S)


class Session:
    """The session's state. Callers pass times in seconds of one monotonic clock."""

    def __init__(self, now: float) -> None:
        self._hello_due = now
        self._quiet_since = now
        self._live: _Live | None = None

    @property
    def due(self) -> float:
        """When `tick` must be called next."""
        live = self._live
        return self._hello_due if live is None else min(live.beat_due, live.silent_at)

    def tick(self, now: float) -> list[Act]:
        """Actions due at this time. Call it before `receive`, so that old PINGs hide no silence."""
        live = self._live
        if live is None:
            return self._keep_greeting(now) if now >= self._hello_due else []
        if now >= live.silent_at:
            ended = self._end(f"no PING for {now - live.heard:.1f} s")
            return [*ended, *self._greet_anew(now)]
        if now < live.beat_due:
            return []
        self._live = _Live(live.session, live.interval_s, now + live.interval_s, live.heard)
        return [Beat(live.session)]

    def receive(self, message: FromGateway, now: float) -> list[Act]:
        """Actions that follow from a message of the gateway."""
        self._quiet_since = now
        match message:
            case Welcome():
                return self._welcome(message, now)
            case Ping():
                return self._ping(message, now)
            case Refused() | Drain():
                return [Deliver(message)]
            case Generate() | Cancel():
                # Requests of an ended session: the gateway sends them again, or is gone.
                return [] if self._live is None else [Deliver(message)]

    def _welcome(self, welcome: Welcome, now: float) -> list[Act]:
        ended: list[Act] = []
        if self._live is not None and self._live.session != welcome.session:
            ended = self._end(f"WELCOME to session {welcome.session}")
        interval_s = welcome.heartbeat_ms / 1000
        begun: list[Act] = [] if self._live is not None else [Begin(welcome.session)]
        self._live = _Live(welcome.session, interval_s, now + interval_s, now)
        return [*ended, *begun, Beat(welcome.session)]

    def _ping(self, ping: Ping, now: float) -> list[Act]:
        live = self._live
        if live is None:
            return []  # HELLO is sent anyway
        if ping.session == live.session:
            self._live = _Live(live.session, live.interval_s, live.beat_due, now)
            return []
        return [*self._end(f"PING from session {ping.session}"), *self._greet(now)]

    def _end(self, reason: str) -> list[Act]:
        self._live = None
        return [End(reason)]

    def _keep_greeting(self, now: float) -> list[Act]:
        quiet = now - self._quiet_since >= SILENT_AT_LEAST_S
        return self._greet_anew(now) if quiet else self._greet(now)

    def _greet_anew(self, now: float) -> list[Act]:
        self._quiet_since = now
        return [Reconnect(), *self._greet(now)]

    def _greet(self, now: float) -> list[Act]:
        self._hello_due = now + HELLO_EVERY_S
        return [SayHello()]
