"""Which images share the next denoising step. Pure: no jax, no zmq, no clock of its own.

A step holds images of one size and at most `rows` rows; a guided image takes two rows, an unguided
one takes one. Rows are given out at step boundaries:

- Each size has its own `rows` rows. Its images get them in order of arrival and keep them until
  they are finished or cancelled. Nobody overtakes, so small images do not starve one of two rows.
- The sizes that have images with rows take turns. A step takes *all* such images of its size.

So the bounds are, with S sizes in use:

- **An image that has rows advances once in any S consecutive steps**, old or young, whatever its
  size, steps and guidance: N steps of its own take at most S·N steps.
- **An image without rows waits for nobody who came after it.** If k images of its size came before
  it, of at most N steps each, it gets rows after at most k·S·N steps. (The images that have rows
  are done after S·N steps, all of them; so then at least one of the k is gone for good.)

No arrival changes either, so no traffic starves anyone. A new size makes S larger by one, and takes
its first turn last. All of this counts steps: how long one takes depends on its size and rows.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class Ticket:
    """One image that waits for rows or has them."""

    request: str
    image: int
    size: Size
    rows: int
    steps: int


class StepScheduler:
    """See the module's text. Not safe for several threads."""

    def __init__(self, rows: int) -> None:
        """Args: `rows` is how many rows one step holds."""
        self._rows = rows
        self._waiting: dict[Size, deque[Ticket]] = {}
        self._running: dict[Size, dict[Ticket, int]] = {}  # value: steps left
        self._turns: deque[Size] = deque()  # the sizes with running images, next one first
        self._deadlines: dict[str, float] = {}

    @property
    def queued(self) -> int:
        """How many images wait for rows."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def rows_in_use(self) -> int:
        """How many rows are given out, over all sizes."""
        return sum(ticket.rows for running in self._running.values() for ticket in running)

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._waiting) or bool(self._running)

    def remaining(self) -> Iterator[tuple[Ticket, int]]:
        """Every image and the steps that it still needs; those with rows first, then by arrival."""
        for running in self._running.values():
            yield from running.items()
        for queue in self._waiting.values():
            yield from ((ticket, ticket.steps) for ticket in queue)

    def add(self, tickets: Sequence[Ticket], deadline: float = math.inf) -> None:
        """Queue the images of one request, which expires at `deadline`.

        Raises:
            ValueError: an image needs more rows than a step has, or no steps.
        """
        for ticket in tickets:
            if not 1 <= ticket.rows <= self._rows:
                raise ValueError(f"an image of {ticket.rows} rows does not fit {self._rows} rows")
            if ticket.steps < 1:
                raise ValueError("an image needs at least one step")
        for ticket in tickets:
            self._waiting.setdefault(ticket.size, deque()).append(ticket)
            if deadline < math.inf:
                self._deadlines[ticket.request] = deadline

    def cancel(self, request: str) -> None:
        """Take a request's images out, wherever they are. Their rows are free at once."""
        for size, queue in list(self._waiting.items()):
            self._keep_waiting(size, deque(t for t in queue if t.request != request))
        for running in list(self._running.values()):
            for ticket in [t for t in running if t.request == request]:
                self._release(ticket)
        self._deadlines.pop(request, None)

    def expire(self, now: float) -> list[str]:
        """Take out every request whose deadline has come, and name them."""
        expired = [name for name, deadline in self._deadlines.items() if deadline <= now]
        for request in expired:
            self.cancel(request)
        return expired

    def admit(self) -> list[Ticket]:
        """Give free rows to those who wait for them longest; they must be encoded before a step."""
        admitted: list[Ticket] = []
        for size, queue in list(self._waiting.items()):
            running = self._running.get(size, {})
            free = self._rows - sum(ticket.rows for ticket in running)
            while queue and queue[0].rows <= free:
                ticket = queue.popleft()
                free -= ticket.rows
                self._start(ticket)
                admitted.append(ticket)
            self._keep_waiting(size, queue)
        return admitted

    def next_step(self) -> tuple[Ticket, ...]:
        """The images that advance in the next step; empty when none has rows.

        Images whose steps are all done, but that are not `finished` yet, are left out.
        """
        for _ in range(len(self._turns)):
            size = self._turns[0]
            self._turns.rotate(-1)
            step = tuple(ticket for ticket, left in self._running[size].items() if left > 0)
            if step:
                return step
        return ()

    def stepped(self, step: Sequence[Ticket]) -> list[Ticket]:
        """Count a step for those images of it that are still here; names those with none left."""
        done = []
        for ticket in step:
            running = self._running.get(ticket.size, {})
            if ticket in running:
                running[ticket] -= 1
                if running[ticket] == 0:
                    done.append(ticket)
        return done

    def finished(self, ticket: Ticket) -> None:
        """An image is decoded: its rows are free. (Until then they count as in use.)"""
        self._release(ticket)
        if not any(other.request == ticket.request for other, _ in self.remaining()):
            self._deadlines.pop(ticket.request, None)

    def _start(self, ticket: Ticket) -> None:
        if ticket.size not in self._running:
            self._running[ticket.size] = {}
            self._turns.append(ticket.size)
        self._running[ticket.size][ticket] = ticket.steps

    def _release(self, ticket: Ticket) -> None:
        running = self._running[ticket.size]
        del running[ticket]
        if not running:
            del self._running[ticket.size]
            self._turns.remove(ticket.size)

    def _keep_waiting(self, size: Size, queue: deque[Ticket]) -> None:
        if queue:
            self._waiting[size] = queue
        else:
            self._waiting.pop(size, None)
