"""The DEALER socket and the one thread that owns it.

    loop ─put─▶ outbox ──▶ ┌────────────┐ ◀══▶ the gateway's ROUTER
    loop ◀take─ mailbox ◀─ │ I/O thread │
                           └────────────┘   session: when to send HELLO and HEARTBEAT, when to end

The thread sends heartbeats even while the engine computes, so that a long step does not look like a
dead worker. The heartbeat itself says whether steps advance.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import parse_monitor_message

from easel_worker.codec import BadMessage, pack, unpack
from easel_worker.logs import Logger
from easel_worker.mailbox import Broken, Event, Leave, Lost, Mailbox, Received, TurnedAway
from easel_worker.outbox import Outbox
from easel_worker.protocol import (
    FROM_GATEWAY,
    MAX_PICTURE_BYTES,
    Buffer,
    Cancel,
    Drain,
    FromWorker,
    Generate,
    Heartbeat,
    Hello,
    Refused,
)
from easel_worker.session import Act, Beat, Begin, Deliver, End, Reconnect, SayHello, Session
from easel_worker.waker import Waker

HIGH_WATER = 16
"""How many messages ZeroMQ queues itself; the outbox queues the rest and limits it."""

HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)

COMPLAIN_EVERY_S = 60.0
"""How often a worker that the gateway does not let in says so."""

RECEIVE_AT_ONCE = 256
SEND_AT_ONCE = 64
LINGER_S = 2.0


@dataclass(frozen=True)
class CurveKeys:
    """The keys of an encrypted connection, in Z85."""

    server_public: str
    own_secret: str = field(repr=False)


@dataclass(frozen=True)
class Address:
    """Where the gateway listens, and the worker's name and keys."""

    endpoint: str
    worker: str
    keys: CurveKeys | None = None


class Transport:
    """Sends and receives messages and maintains the session."""

    def __init__(
        self,
        address: Address,
        hello: Callable[[], Hello],
        mailbox: Mailbox,
        *,
        heartbeat: Callable[[str], Heartbeat],
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:

        address: the gateway's.
        hello: makes the next HELLO; called on the transport's thread.
        mailbox: receives events for the loop.
        heartbeat: makes the next HEARTBEAT of a session; called on the transport's thread.
        log: the worker's logger.
        clock: monotonic seconds.
        """
        self._address = address
        self._hello = hello
        self._mailbox = mailbox
        self._heartbeat = heartbeat
        self._log = log
        self._clock = clock
        self._session = Session(clock())
        self._context = zmq.Context()
        self._waker = Waker(self._context)
        self._outbox = Outbox(self._waker.wake)
        # HELLO and HEARTBEAT that could not be sent yet; a newer one replaces an older one.
        self._urgent: dict[int, list[Buffer]] = {}
        self._bad_total = 0
        self._bad_logged = False
        self._closing_at: float | None = None
        self._complain_at = -math.inf
        self._socket = self._open()
        self._monitor = self._socket.get_monitor_socket(HANDSHAKE_FAILED)
        self._thread = threading.Thread(target=self._run, name="transport", daemon=True)

    def start(self) -> None:
        """Start the thread, which connects and sends HELLO."""
        self._thread.start()

    def send(self, message: FromWorker) -> None:
        """Queue a message; waits while the outbox is full. Outside a session it is dropped."""
        self._outbox.put(message)

    def resume(self) -> None:
        """Accept messages again: the loop has handled a `Lost` event."""
        self._outbox.resume()

    def close(self, flush_s: float = LINGER_S) -> None:
        """Send queued messages for at most `flush_s` seconds, and end the thread."""
        self._outbox.close()
        self._closing_at = self._clock() + flush_s
        self._waker.wake()
        self._thread.join()

    def _open(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, self._address.worker.encode())
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_PICTURE_BYTES)
        # Queue only while connected, so that no old message reaches the next gateway.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        if "[" in self._address.endpoint:
            socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        # ZeroMQ closes a half-open TCP connection and reconnects.
        socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10000)
        if (keys := self._address.keys) is not None:
            secret = keys.own_secret.encode()
            socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server_public.encode())
            socket.setsockopt(zmq.CURVE_PUBLICKEY, zmq.curve_public(secret))
            socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        socket.connect(self._address.endpoint)
        return socket

    def _run(self) -> None:
        try:
            while not self._done():
                self._turn()
        except Exception as error:  # noqa: BLE001 - the loop must learn that this thread failed
            self._mailbox.put(Broken(error))
            self._outbox.close()
        finally:
            self._close_socket(linger_s=LINGER_S)
            self._waker.close()
            self._context.term()
            left_out = self._outbox.left_out
            self._log.debug("transport closed", bad=self._bad_total, progress_left_out=left_out)

    def _close_socket(self, linger_s: float) -> None:
        self._socket.disable_monitor()
        # pyzmq leaves it open, and the context then waits for it for ever.
        self._monitor.close(linger=0)
        self._socket.close(linger=int(linger_s * 1000))

    def _turn(self) -> None:
        if self._closing_at is None:
            self._act(self._session.tick(self._clock()))
        wanted = zmq.POLLOUT if self._flush() else 0
        if not self._mailbox.full:
            wanted |= zmq.POLLIN
        poller = zmq.Poller()
        poller.register(self._waker.socket, zmq.POLLIN)
        poller.register(self._socket, wanted)
        poller.register(self._monitor, zmq.POLLIN)
        ready = dict(poller.poll(self._timeout_ms()))
        if self._waker.socket in ready:
            self._waker.clear()
        if self._monitor in ready:
            self._turned_away()
        if ready.get(self._socket, 0) & zmq.POLLIN:
            self._receive()

    def _done(self) -> bool:
        if self._closing_at is None:
            return False
        return self._outbox.first() is None or self._clock() >= self._closing_at

    def _timeout_ms(self) -> int:
        due = self._session.due if self._closing_at is None else self._closing_at
        # Poll a full mailbox: its reader does not wake this thread.
        limit = 0.02 if self._mailbox.full else 60.0
        return math.ceil(min(max(due - self._clock(), 0.0), limit) * 1000)

    def _flush(self) -> bool:
        """Send queued messages, a limited number at once; returns whether more are queued."""
        try:
            for kind in list(self._urgent):
                self._transmit(self._urgent[kind])
                del self._urgent[kind]
            for _ in range(SEND_AT_ONCE):
                if (frames := self._outbox.first()) is None:
                    return False
                self._transmit(frames)
                self._outbox.pop()
        except zmq.Again:
            pass  # ZeroMQ's queue is full
        return True

    def _transmit(self, frames: list[Buffer]) -> None:
        self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def _receive(self) -> None:
        for _ in range(RECEIVE_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = unpack(frames, FROM_GATEWAY)
            except BadMessage as error:
                self._count_bad(error)
            else:
                self._act(self._session.receive(message, self._clock()))

    def _turned_away(self) -> None:
        """Say that the handshake failed, and why: at first, then now and then."""
        event = parse_monitor_message(self._monitor.recv_multipart())["event"]
        if self._clock() < self._complain_at:
            return
        self._complain_at = self._clock() + COMPLAIN_EVERY_S
        self._log.warn(_why_not_let_in(event, self._address), endpoint=self._address.endpoint)

    def _count_bad(self, error: BadMessage) -> None:
        self._bad_total += 1
        if not self._bad_logged:
            self._bad_logged = True
            self._log.warn(
                "dropped a bad message; later ones in this session are only counted", err=error
            )

    def _act(self, acts: list[Act]) -> None:
        for act in acts:
            match act:
                case SayHello():
                    self._urgent[Hello.kind] = pack(self._hello())
                case Beat(session):
                    self._urgent[Heartbeat.kind] = pack(self._heartbeat(session))
                case Reconnect():
                    self._close_socket(linger_s=0)
                    self._socket = self._open()
                    self._monitor = self._socket.get_monitor_socket(HANDSHAKE_FAILED)
                case Begin(session):
                    self._bad_logged = False
                    self._log.info("welcomed by the gateway", session=session)
                case End(reason):
                    self._urgent.clear()
                    self._outbox.cut()
                    self._mailbox.put(Lost(reason))
                    self._log.warn("session over, dropping its requests", reason=reason)
                case Deliver(message):
                    self._mailbox.put(self._event(message))

    def _event(self, message: Generate | Cancel | Drain | Refused) -> Event:
        match message:
            case Drain():
                return Leave(message.grace_ms / 1000, "the gateway asked")
            case Refused():
                return TurnedAway(message.code, message.message)
            case _:
                return Received(message, self._clock())


def _why_not_let_in(event: int, address: Address) -> str:
    """Why the gateway's socket ended the handshake, as far as it says."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and address.keys is not None:
        public = zmq.curve_public(address.keys.own_secret.encode()).decode()
        return (
            "the gateway does not know this worker's CURVE key; add its public key to the "
            f"gateway's CURVE_WORKER_KEYS: {public}"
        )
    if address.keys is None:
        return (
            "the gateway ended the connection before its handshake: if it has CURVE keys, set "
            "--curve-server-key and --curve-secret-key"
        )
    return (
        "the gateway ended the connection before its handshake: --curve-server-key is not its "
        "public key, or it has no CURVE_SECRET_KEY, or something else listens there"
    )
