"""A gateway to test workers with: a real ROUTER that the test controls."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from easel_worker.codec import pack, unpack
from easel_worker.protocol import FROM_WORKER, Cancel, FromGateway, FromWorker, Hello, Welcome

PATIENCE_S = 20.0
M = TypeVar("M", bound=FromWorker)


class Gateway:
    """A ROUTER socket and what it received. Not thread-safe."""

    def __init__(self, socket: "zmq.Socket[bytes]", endpoint: str) -> None:
        self._socket = socket
        self.endpoint = endpoint
        self.known = False
        """Whether a worker was ever welcomed."""

    def receive(self, timeout_s: float = PATIENCE_S) -> tuple[str, FromWorker]:
        """Return the next message and its sender."""
        if not self._socket.poll(int(max(timeout_s, 0) * 1000)):
            raise TimeoutError("no message from a worker")
        worker, *frames = self._socket.recv_multipart()
        return worker.decode(), unpack(frames, FROM_WORKER)

    def until(
        self,
        kind: type[M],
        where: Callable[[M], bool] = lambda _: True,
        patience_s: float = PATIENCE_S,
    ) -> tuple[M, list[FromWorker]]:
        """Return the first message of a kind (that satisfies `where`), and all earlier ones."""
        skipped: list[FromWorker] = []
        end = time.monotonic() + patience_s
        while True:
            _, message = self.receive(end - time.monotonic())
            if isinstance(message, kind) and where(message):
                return message, skipped
            skipped.append(message)

    def expect(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """Return the first message of a kind that satisfies `where`; ignore others."""
        return self.until(kind, where)[0]

    def welcome(
        self, session: str = "s1", heartbeat_ms: float = 50.0, patience_s: float = PATIENCE_S
    ) -> Hello:
        """Wait for HELLO and welcome its sender."""
        hello, _ = self.until(Hello, patience_s=patience_s)
        self.send(hello.worker, Welcome(session, heartbeat_ms))
        self.known = True
        return hello

    def send(self, worker: str, *messages: FromGateway) -> None:
        """Send messages; the worker must be connected."""
        for message in messages:
            self.send_frames(worker, [bytes(frame) for frame in pack(message)])

    def send_frames(self, worker: str, frames: list[bytes]) -> None:
        """Send arbitrary frames."""
        self._socket.send_multipart([worker.encode(), *frames])

    def reaches(self, worker: str, message: FromGateway) -> bool:
        """Send a message if the worker is connected, and return whether it is."""
        try:
            self.send(worker, message)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True

    def until_unreachable(self, worker: str) -> None:
        """Wait until a worker's connection is closed, probing it with CANCELs of no request."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if not self.reaches(worker, Cancel("nothing")):
                return
            time.sleep(0.001)
        raise TimeoutError(f"{worker} is still connected")


@contextmanager
def gateway(
    endpoint: str, curve_secret: bytes | None = None, worker_keys: list[bytes] | None = None
) -> Iterator[Gateway]:
    """Open a gateway that listens at the endpoint (tcp with port `*` picks a free port).

    `worker_keys` are the public keys of the workers that it lets in; by default it lets in all.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    door = None
    if worker_keys is not None:
        door = ThreadAuthenticator(context)
        door.start()
        door.configure_curve_callback(credentials_provider=_Listed(worker_keys))
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.LINGER, 0)
    if curve_secret is not None:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, curve_secret)
    try:
        socket.bind(endpoint)
        yield Gateway(socket, socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    finally:
        socket.close()
        if door is not None:
            door.stop()
        context.term()


@dataclass(frozen=True)
class _Listed:
    """Lets in the workers with these public keys (Z85)."""

    keys: list[bytes]

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether to let in a peer with this key. Called for each."""
        del domain  # pyzmq passes the socket's, which has none
        return z85.encode(key) in self.keys
