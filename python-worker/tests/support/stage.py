"""The loop on a stage: a fake engine, no socket, no real time, and events exactly when wanted."""

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
from easel_worker.vitals import Vitals
from tests.support.samples import SMALL

OTHER = (32, 32)
STEP_MS = 100.0

Cue = Callable[[FromWorker], bool]


class Stage:
    """Runs a loop until it has nothing left to do, and keeps what it sent."""

    def __init__(self, engine: Engine | None = None, **options: Any) -> None:
        """Args: `options` are the fake engine's; a step takes 100 ms of the stage's own time."""
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
        """A fake engine whose time is the stage's."""
        return FakeEngine(Options(**options), sleep=self._sleep)

    def on(self, cue: Cue, event: Event | Generate | Cancel) -> None:
        """Let something happen, once, right after the first message that `cue` accepts is sent."""
        self._cues.append((cue, event))

    def play(self, *events: Event | Generate | Cancel) -> ExitStatus:
        """Let these things happen at the start, and run until nothing is left to do."""
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
        """The loop's link."""
        self.sent.append(message)
        due = [cue for cue in self._cues if cue[0](message)]
        self._cues = [cue for cue in self._cues if cue not in due]
        for _, event in due:
            self._happen(event)

    def resume(self) -> None:
        """The loop's link."""
        self.resumed += 1

    def cancel(self, request: str) -> None:
        """Let a request be cancelled now."""
        self._happen(Cancel(request))

    def about(self, request: str) -> list[FromWorker]:
        """What was sent about a request."""
        return [message for message in self.sent if getattr(message, "id", None) == request]

    def results(self, request: str) -> list[Result]:
        """The images of a request."""
        return [message for message in self.about(request) if isinstance(message, Result)]

    def failure(self, request: str) -> str | None:
        """The code with which a request ended, if it failed."""
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
    """Ends the play when the loop would wait for ever."""

    def take(self, timeout: float | None) -> list[Event]:
        events = super().take(0)
        return events if events or timeout is not None else [Leave(0.0, "the play is over")]


def progress(request: str, stage: str, step: int | None = None, image: int = 0) -> Cue:
    """The cue of a PROGRESS message."""

    def cue(message: FromWorker) -> bool:
        return (
            isinstance(message, Progress)
            and (message.id, message.stage, message.image) == (request, stage, image)
            and step in (None, message.step)
        )

    return cue


class Brittle:
    """An engine around another one, whose joint steps fail."""

    def __init__(self, inner: FakeEngine, advance_first: int, error: Exception) -> None:
        """Args: `advance_first` is how many lanes a failing step advances before it fails."""
        self._inner = inner
        self._advance_first = advance_first
        self._error = error
        self.before_step: Callable[[Sequence[Lane]], object] = lambda _: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Fail, if there is more than one lane."""
        self.before_step(lanes)
        if len(lanes) == 1:
            self._inner.step(lanes)
            return
        if self._advance_first:
            self._inner.step(lanes[: self._advance_first])
        raise self._error
