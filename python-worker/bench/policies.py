"""How other servers decide which images share the device, on the interface of ours.

Both run to completion: a batch is formed when the device is idle, and nobody joins it later. With
batches of one image that is one request at a time, as in a handler that holds a lock around
`pipe(prompt)`. With larger ones it is dynamic batching, as Triton Inference Server and TorchServe
do it (max_queue_delay and maxBatchDelay 0: they wait for nobody while the device is idle).

They are kinder than their models: members of a batch may differ in steps, guidance and scheduler,
and one that is done is answered at once and costs nothing more. So the only difference that is
measured is *when images may join*.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Literal

from easel_worker.step_scheduler import StepScheduler, Ticket

Policy = Literal["steps", "batches", "single"]


class RunToCompletion(StepScheduler):
    """Batches in order of arrival; a batch has one size, and the next one waits for its last."""

    def __init__(self, rows: int, images: int | None = None) -> None:
        """Args: a batch has at most `rows` rows, and `images` images if that is given."""
        super().__init__(rows)
        self._images = images
        self._arrivals: dict[Ticket, int] = {}
        self._numbers = count()

    def add(self, tickets: Sequence[Ticket], deadline: float = float("inf")) -> None:
        """See `StepScheduler.add`."""
        super().add(tickets, deadline)
        self._arrivals |= {ticket: next(self._numbers) for ticket in tickets}

    def admit(self) -> list[Ticket]:
        """The next batch, if the last one is done: of the size that waits longest."""
        if self._running or not self._waiting:
            return []
        size = min(self._waiting, key=lambda size: self._arrivals[self._waiting[size][0]])
        queue, batch, free = self._waiting[size], list[Ticket](), self._rows
        while queue and queue[0].rows <= free and len(batch) != self._images:
            ticket = queue.popleft()
            free -= ticket.rows
            self._start(ticket)
            batch.append(ticket)
        self._keep_waiting(size, queue)
        return batch

    def _release(self, ticket: Ticket) -> None:
        super()._release(ticket)
        self._arrivals.pop(ticket, None)


POLICIES: dict[Policy, Callable[[int], StepScheduler]] = {
    "steps": StepScheduler,
    "batches": RunToCompletion,
    "single": lambda rows: RunToCompletion(rows, images=1),
}
"""Schedulers by policy, for a device with so many rows."""
