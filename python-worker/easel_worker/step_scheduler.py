"""Decides which images share the next denoising step. Pure: no jax, no zmq and no clock.

A step holds images of one shape (the size, and the number of the prompt's tokens) and at most
`rows` rows; a guided image takes two rows, an unguided one takes one. Rows are given out at step
boundaries:

- Each size has its own `rows` rows. Its images get them in order of arrival and keep them until
  they are finished or cancelled. No image overtakes another, so unguided images cannot starve a
  guided one.
- The shapes that have images with rows take turns. A step takes *all* such images of its shape.

This gives two bounds, with S shapes in use:

- **An image that has rows advances once in any S consecutive steps**, whatever its age, shape,
  steps and guidance: its N steps take at most S·N steps.
- **An image without rows never waits for a later one.** If k images of its size came before it, of
  at most N steps each, it gets rows after at most k·S·N steps. (All images that have rows are done
  after S·N steps, so by then at least one of the k has ended.)

New arrivals change neither bound, so no traffic starves an image. A new shape increases S by one
and takes its first turn last. The bounds count steps; a step's duration depends on its shape and
rows.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

from easel_worker.engine import StepShape
from easel_worker.image import Image
from easel_worker.values import Size

K = TypeVar("K", bound=Hashable)


class StepScheduler:
    """See the module's docstring. Not safe for several threads.

    Keeps every added request until its last image is finished or the request is cancelled.
    """

    def __init__(self, rows: int) -> None:
        """Args: `rows` is how many rows one step holds."""
        self._rows = rows
        self._requests: dict[str, list[Image]] = {}  # by id: the images that have not ended
        self._waiting: dict[Size, list[Image]] = {}
        # The images with rows. The shapes are in the order of their turns, the next one first.
        self._running: dict[StepShape, list[Image]] = {}

    @property
    def queued(self) -> int:
        """How many images wait for rows."""
        return sum(map(len, self._waiting.values()))

    @property
    def rows_in_use(self) -> int:
        """How many rows are in use, over all sizes."""
        return sum(map(_rows, self._running.values()))

    @property
    def busy(self) -> bool:
        """Whether any image has not ended."""
        return bool(self._requests)

    def __contains__(self, request: str) -> bool:
        """Whether the request with this id has images that have not ended."""
        return request in self._requests

    def images(self) -> Iterator[Image]:
        """Every image that has not ended; those with rows first, then by arrival."""
        for some in (*self._running.values(), *self._waiting.values()):
            yield from some

    def add(self, images: Sequence[Image]) -> None:
        """Queue the images of one request.

        Raises:
            ValueError: an image needs more rows than a step has, or no steps.
        """
        for image in images:
            if image.spec.rows > self._rows or image.spec.steps < 1:
                rows, steps = image.spec.rows, image.spec.steps
                raise ValueError(f"an image of {rows} rows and {steps} steps, in {self._rows} rows")
        for image in images:
            self._requests.setdefault(image.request.id, []).append(image)
            self._waiting.setdefault(image.spec.size, []).append(image)

    def expired(self, now: float) -> list[str]:
        """The ids of the requests whose deadline has passed."""
        return [name for name, images in self._requests.items() if images[0].deadline <= now]

    def cancel(self, request: str) -> bool:
        """End a request's images and free their rows; returns whether there were any."""
        images = self._requests.pop(request, [])
        for image in images:
            self._take_out(image)
            image.end()
        return bool(images)

    def cancel_all(self) -> None:
        """End everything."""
        for request in list(self._requests):
            self.cancel(request)

    def admit(self) -> list[Image]:
        """Give free rows to the images that wait longest; the caller encodes them before a step."""
        admitted: list[Image] = []
        for size, queue in list(self._waiting.items()):
            running = (images for shape, images in self._running.items() if shape.size == size)
            free = self._rows - sum(map(_rows, running))
            while queue and queue[0].spec.rows <= free:
                image = queue[0]
                free -= image.spec.rows
                self._start(image)
                admitted.append(image)
        return admitted

    def next_step(self) -> list[Image]:
        """The images that advance in the next step; empty if no image has rows and steps left."""
        for shape in list(self._running):
            self._running[shape] = images = self._running.pop(shape)  # its next turn comes last
            if step := [image for image in images if image.state == "running"]:
                return step
        return []

    def stepped(self, step: Sequence[Image]) -> list[Image]:
        """Count a step for its images that have not ended; returns those without steps left."""
        done = []
        for image in step:
            if image.ended:
                continue
            image.steps_left -= 1
            if image.steps_left == 0:
                image.state = "decoding"
                done.append(image)
        return done

    def finished(self, image: Image) -> None:
        """End an image that is decoded, and free its rows."""
        self._take_out(image)
        image.end()
        left = self._requests[image.request.id]
        left.remove(image)
        if not left:
            del self._requests[image.request.id]

    def _start(self, image: Image) -> None:
        self._take_out(image)
        image.state = "running"
        self._running.setdefault(image.spec.shape, []).append(image)

    def _take_out(self, image: Image) -> None:
        """Remove an image from the list of its state."""
        if image.state == "waiting":
            _remove(self._waiting, image.spec.size, image)
        else:
            _remove(self._running, image.spec.shape, image)


def _remove(lists: dict[K, list[Image]], key: K, image: Image) -> None:
    """Remove an image from the list of a key, and the list if it is then empty."""
    lists[key].remove(image)
    if not lists[key]:
        del lists[key]


def _rows(images: Sequence[Image]) -> int:
    return sum(image.spec.rows for image in images)
