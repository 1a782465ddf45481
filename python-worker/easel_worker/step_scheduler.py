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

from collections.abc import Iterator, Sequence

from easel_worker.image import Image
from easel_worker.values import Size


class StepScheduler:
    """See the module's text. Not safe for several threads.

    Keeps every request that was added until its last image is finished, or until it is cancelled.
    """

    def __init__(self, rows: int) -> None:
        """Args: `rows` is how many rows one step holds."""
        self._rows = rows
        self._requests: dict[str, list[Image]] = {}  # by id: the images that have not ended
        self._waiting: dict[Size, list[Image]] = {}
        # Those with rows. The sizes are in order of their turns, the next one first.
        self._running: dict[Size, list[Image]] = {}

    @property
    def queued(self) -> int:
        """How many images wait for rows."""
        return sum(map(len, self._waiting.values()))

    @property
    def rows_in_use(self) -> int:
        """How many rows are given out, over all sizes."""
        return sum(map(_rows, self._running.values()))

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._requests)

    def __contains__(self, request: str) -> bool:
        """Whether the request of this id has images left."""
        return request in self._requests

    def images(self) -> Iterator[Image]:
        """Every image that has not ended; those with rows first, then by arrival."""
        for of_size in (*self._running.values(), *self._waiting.values()):
            yield from of_size

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
        """The requests whose deadline has come."""
        return [name for name, images in self._requests.items() if images[0].deadline <= now]

    def cancel(self, request: str) -> bool:
        """End a request's images, wherever they are; answers whether there were any.

        Their rows are free at once.
        """
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
        """Give free rows to those who wait for them longest; they must be encoded before a step."""
        admitted: list[Image] = []
        for size, queue in list(self._waiting.items()):
            free = self._rows - _rows(self._running.get(size, ()))
            while queue and queue[0].spec.rows <= free:
                image = queue[0]
                free -= image.spec.rows
                self._start(image)
                admitted.append(image)
        return admitted

    def next_step(self) -> list[Image]:
        """The images that advance in the next step; empty when none has rows.

        Images whose steps are all done, but that are not `finished` yet, are left out.
        """
        for size in list(self._running):
            self._running[size] = images = self._running.pop(size)  # its next turn comes last
            if step := [image for image in images if image.state == "running"]:
                return step
        return []

    def stepped(self, step: Sequence[Image]) -> list[Image]:
        """Count a step for those images of it that are still here; names those with none left."""
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
        """An image is decoded: its rows are free. (Until then they count as in use.)"""
        self._take_out(image)
        image.end()
        left = self._requests[image.request.id]
        left.remove(image)
        if not left:
            del self._requests[image.request.id]

    def _start(self, image: Image) -> None:
        self._take_out(image)
        image.state = "running"
        self._running.setdefault(image.spec.size, []).append(image)

    def _take_out(self, image: Image) -> None:
        """Out of where an image of its state is."""
        sizes = self._waiting if image.state == "waiting" else self._running
        sizes[image.spec.size].remove(image)
        if not sizes[image.spec.size]:
            del sizes[image.spec.size]


def _rows(images: Sequence[Image]) -> int:
    return sum(image.spec.rows for image in images)
