"""Makes HELLO and the heartbeats, which report what has changed since."""

from dataclasses import replace

from msgspec import UNSET

from easel_worker import specs
from easel_worker.engine import Capabilities, Engine
from easel_worker.protocol import Heartbeat, Hello
from easel_worker.vitals import Vitals


class News:
    """What a worker tells its gateway about itself. Call it from one thread."""

    def __init__(
        self, engine: Engine, vitals: Vitals, worker: str, model_name: str | None = None
    ) -> None:
        """Args:

        engine: whose capabilities are told.
        vitals: the counters.
        worker: the worker's name.
        model_name: replaces the model's own name.
        """
        self._engine = engine
        self._vitals = vitals
        self._worker = worker
        self._model_name = model_name
        self._greeted: tuple[object, ...] = ()
        self._changed = False

    def hello(self) -> Hello:
        """The HELLO of now."""
        now = self._engine.capabilities
        self._greeted, self._changed = _files(now), False
        return specs.hello(now, self._worker, self._model_name)

    def heartbeat(self, session: str) -> Heartbeat:
        """The heartbeat of now.

        The operator's files may be many, so it has them only once they have differed from HELLO's.
        It has them from then on, because a heartbeat that was not sent makes way for the next one.
        """
        now = self._engine.capabilities
        self._changed |= _files(now) != self._greeted
        return replace(
            self._vitals.heartbeat(session),
            sizes=now.sizes,
            features=now.features,
            max_chunks=now.limits.max_chunks,
            coming=now.coming,
            coming_features=now.coming_features,
            coming_max_chunks=now.coming_max_chunks,
            loras=now.loras if self._changed else UNSET,
            embeddings=now.embeddings if self._changed else UNSET,
            controls=now.controls if self._changed else UNSET,
            ip_adapters=now.ip_adapters if self._changed else UNSET,
        )


def _files(now: Capabilities) -> tuple[object, ...]:
    """What is in the operator's folders."""
    return now.loras, now.embeddings, now.controls, now.ip_adapters
