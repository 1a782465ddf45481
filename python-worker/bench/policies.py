"""Other servers' scheduling policies, behind our step scheduler's interface.

Both run to completion: they form a batch when the device is idle, and no image joins it later.
With batches of one image that is one request at a time, like a handler with a lock around
`pipe(prompt)`. With larger batches it is dynamic batching as in Triton Inference Server and
TorchServe, with max_queue_delay and maxBatchDelay 0: an idle device starts at once.

They are more efficient than those servers: images of a batch may differ in steps, guidance and
scheduler, and a finished image is returned at once and costs nothing more. So the only measured
difference is *when images may join*.
"""

from collections.abc import Callable
from typing import Literal

from easel_worker.image import Image
from easel_worker.step_scheduler import StepScheduler

Policy = Literal["steps", "batches", "single"]


class RunToCompletion(StepScheduler):
    """Forms batches in order of arrival, one image size each; a batch runs until all are done."""

    def __init__(self, rows: int, images: int | None = None) -> None:
        """Args: a batch has at most `rows` rows, and at most `images` images if given."""
        super().__init__(rows)
        self._images = images

    def admit(self) -> list[Image]:
        """Form the next batch, of the size that waits longest, if the last one is done."""
        if self._running or not self._requests:
            return []
        first, *_ = next(iter(self._requests.values()))
        batch: list[Image] = []
        free = self._room.rows
        for image in [each for each in self._waiting if each.shape.size == first.shape.size]:
            if image.spec.rows > free or len(batch) == self._images:
                break
            free -= image.spec.rows
            self._start(image)
            batch.append(image)
        return batch


POLICIES: dict[Policy, Callable[[int], StepScheduler]] = {
    "steps": StepScheduler,
    "batches": RunToCompletion,
    "single": lambda rows: RunToCompletion(rows, images=1),
}
"""Builds a policy's scheduler for a device with the given number of rows."""
