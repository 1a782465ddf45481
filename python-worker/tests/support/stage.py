"""Runs the loop deterministically: a fake engine, no socket, virtual time, scripted events."""

from collections.abc import Callable, Sequence
from typing import Any

from easel_worker.engine import Engine, Lane
from easel_worker.exit_status import ExitStatus
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Options
from easel_worker.logs import SILENT, Logger
from easel_worker.loop import Loop
from easel_worker.mailbox import Event, Leave, Mailbox, Received
from easel_worker.protocol import Cancel, Failed, FromWorker, Generate, Progress, Result
from easel_worker.values import Size
from easel_worker.vitals import Vitals
from tests.support.samples import SMALL

OTHER = Size(32, 32)
STEP_MS = 100.0

Cue = Callable[[FromWorker], bool]


class Stage:
    """Runs a loop until it has nothing left to do, and records what it sent."""

    def __init__(self, engine: Engine | None = None, **options: Any) -> None:
        """Args: `options` are the fake engine's; a step takes 100 ms of virtual time."""
        self.now = 1000.0
        self.sent: list[FromWorker] = []
        self.resumed = 0
        self.vitals = Vitals()
        self._cues: list[tuple[Cue, Event | Generate | Cancel]] = []
        known: dict[str, Any] = {"fake_step_ms": STEP_MS, "fake_encode_ms": 10.0}
        known |= {"fake_decode_ms": 20.0, "sizes": (SMALL, OTHER), "rows": 4} | options
        self.engine = engine if engine is not None else self.fake_engine(**known)
        self._mailbox = _StageMailbox()

    def fake_engine(self, **options: Any) -> FakeEngine:
        """Return a fake engine that uses the stage's virtual time."""
        return FakeEngine(Options(**options), sleep=self._sleep)

    def on(self, cue: Cue, event: Event | Generate | Cancel) -> None:
        """Run an event once, right after the loop sends the first message that `cue` accepts."""
        self._cues.append((cue, event))

    def play(self, *events: Event | Generate | Cancel) -> ExitStatus:
        """Run these events at the start, then the loop until it has nothing left to do."""
        for event in events:
            self._happen(event)
        loop = Loop(
            self.engine,
            self,
            self._mailbox,
            vitals=self.vitals,
            log=Logger(SILENT),
            clock=lambda: self.now,
        )
        return loop.run()

    def send(self, message: FromWorker) -> None:
        """Record a message of the loop, and run the events that it cues."""
        self.sent.append(message)
        due = [cue for cue in self._cues if cue[0](message)]
        self._cues = [cue for cue in self._cues if cue not in due]
        for _, event in due:
            self._happen(event)

    def resume(self) -> None:
        """Count the loop's calls of `resume`."""
        self.resumed += 1

    def cancel(self, request: str) -> None:
        """Cancel a request now."""
        self._happen(Cancel(request))

    def about(self, request: str) -> list[FromWorker]:
        """Return the messages sent about a request."""
        return [message for message in self.sent if getattr(message, "id", None) == request]

    def results(self, request: str) -> list[Result]:
        """Return the images of a request."""
        return [message for message in self.about(request) if isinstance(message, Result)]

    def failure(self, request: str) -> str | None:
        """Return a failed request's code, or None."""
        codes = [message.code for message in self.about(request) if isinstance(message, Failed)]
        assert len(codes) <= 1, "a request ends once"
        assert not codes or isinstance(self.about(request)[-1], Failed), "nothing after the end"
        return codes[0] if codes else None

    def _happen(self, event: Event | Generate | Cancel) -> None:
        if isinstance(event, Generate | Cancel):
            event = Received(event, self.now)
        self._mailbox.put(event)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


class _StageMailbox(Mailbox):
    """Ends the run when the loop would wait for ever."""

    def take(self, timeout: float | None) -> list[Event]:
        events = super().take(0)
        return events if events or timeout is not None else [Leave(0.0, "nothing is left to do")]


def progress(request: str, stage: str, step: int | None = None, image: int = 0) -> Cue:
    """Return a cue for a PROGRESS message."""

    def cue(message: FromWorker) -> bool:
        return (
            isinstance(message, Progress)
            and (message.id, message.stage, message.image) == (request, stage, image)
            and step in (None, message.step)
        )

    return cue


class Brittle:
    """Wraps an engine and fails steps of several lanes."""

    def __init__(self, inner: FakeEngine, advance_first: int, error: Exception) -> None:
        """Args: a failing step first advances `advance_first` lanes."""
        self._inner = inner
        self._advance_first = advance_first
        self._error = error
        self.before_step: Callable[[Sequence[Lane]], object] = lambda _: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Fail if there is more than one lane."""
        self.before_step(lanes)
        if len(lanes) == 1:
            self._inner.step(lanes)
            return
        if self._advance_first:
            self._inner.step(lanes[: self._advance_first])
        raise self._error
