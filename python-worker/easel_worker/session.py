"""The worker's side of a connection's life: a pure state machine, time and messages in, acts out.

Greeting: say HELLO until WELCOME or REFUSED. Live: say HEARTBEAT, and listen for PING. What ends a
session (a PING with an unknown session, or silence) leads back to greeting. After silence the
connection is made anew: ZeroMQ does so by itself after a loss, but not after a protocol error, such
as a frame over the limit.
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
    """Close the socket and open another one."""


@dataclass(frozen=True)
class Beat:
    """Send a HEARTBEAT with this session now."""

    session: str


@dataclass(frozen=True)
class Deliver:
    """Hand the message to the loop."""

    message: Generate | Cancel | Drain | Refused


@dataclass(frozen=True)
class End:
    """Drop what runs and what waits to be sent."""

    reason: str


@dataclass(frozen=True)
class Begin:
    """A session has begun."""

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
    """Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, now: float) -> None:
        self._hello_due = now
        self._quiet_since = now
        self._live: _Live | None = None

    @property
    def due(self) -> float:
        """When `tick` has something to do next."""
        live = self._live
        return self._hello_due if live is None else min(live.beat_due, live.silent_at)

    def tick(self, now: float) -> list[Act]:
        """What time alone makes due. Call it before `receive`: old PINGs must hide no silence."""
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
        """What a message from the gateway leads to."""
        self._quiet_since = now
        match message:
            case Welcome():
                return self._welcome(message, now)
            case Ping():
                return self._ping(message, now)
            case Refused() | Drain():
                return [Deliver(message)]
            case Generate() | Cancel():
                # Work of a session that is over: its gateway will send it again, or is gone.
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
            return []  # HELLO is on its way already
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
