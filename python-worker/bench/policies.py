"""How other servers decide which images share the device, on the interface of ours.

Both run to completion: a batch is formed when the device is idle, and nobody joins it later. With
batches of one image that is one request at a time, as in a handler that holds a lock around
`pipe(prompt)`. With larger ones it is dynamic batching, as Triton Inference Server and TorchServe
do it (max_queue_delay and maxBatchDelay 0: they wait for nobody while the device is idle).

They are kinder than their models: members of a batch may differ in steps, guidance and scheduler,
and one that is done is answered at once and costs nothing more. So the only difference that is
measured is *when images may join*.
"""

from collections.abc import Callable
from typing import Literal

from easel_worker.image import Image
from easel_worker.step_scheduler import StepScheduler

Policy = Literal["steps", "batches", "single"]


class RunToCompletion(StepScheduler):
    """Batches in order of arrival; a batch has one size, and the next one waits for its last."""

    def __init__(self, rows: int, images: int | None = None) -> None:
        """Args: a batch has at most `rows` rows, and `images` images if that is given."""
        super().__init__(rows)
        self._images = images

    def admit(self) -> list[Image]:
        """The next batch, if the last one is done: of the size that waits longest."""
        if self._running or not self._requests:
            return []
        first, *_ = next(iter(self._requests.values()))
        queue, batch, free = self._waiting[first.spec.size], list[Image](), self._rows
        while queue and queue[0].spec.rows <= free and len(batch) != self._images:
            image = queue[0]
            free -= image.spec.rows
            self._start(image)
            batch.append(image)
        return batch


POLICIES: dict[Policy, Callable[[int], StepScheduler]] = {
    "steps": StepScheduler,
    "batches": RunToCompletion,
    "single": lambda rows: RunToCompletion(rows, images=1),
}
"""Schedulers by policy, for a device with so many rows."""
