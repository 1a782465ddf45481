"""Decides which images share the next denoising step. Pure: no jax, no zmq and no clock.

A step holds images of one shape (the size, the number of the prompt's tokens, the LoRAs of the
UNet, whether pictures control its steps, and whether they are the refiner's) and at most `rows`
rows; a guided image takes two rows, an unguided one takes one. Rows are given out at step
boundaries:

- Each size has its own `rows` rows. Its images get them in order of arrival and keep them until
  they are finished or cancelled. No image overtakes another, so unguided images cannot starve a
  guided one.
- The images with rows have at most `sets` different sets of LoRAs, besides none: so many copies of
  the weights fit the memory. An image whose set has no place waits for one, and up to P = 8 others
  may pass it meanwhile, so that images with the same LoRAs run together: images of its size, and
  images of any size that have LoRAs. After them no image passes it any more. Places are given out
  in order of arrival too: a set gets one before the sets of later images.
- The shapes that have images with rows take turns. A step takes *all* such images of its shape.
- Where images have several tenants, only those of tenants that have used the least of the worker's
  time take part in a step (`tenants`), freed rows go to the tenant that has the fewest, and a
  stated tenant gets no more than `Room.rows_of_tenant` of a size, so that another one's first image
  can begin. A shape without an image that may take part keeps its turn.
- While an image's LoRAs are being merged it has rows and takes part in no step. The bounds below
  count from the end of the merging.

With one tenant this gives two bounds, with S shapes in use. With C pairs of size and number of
tokens, S is at most C · (1 + sets), and twice that where the worker has ControlNets, T2I-Adapters
or IP-Adapters, and C more where it has a refiner. Where the refiner takes over, an image keeps its
rows and changes its shape.

- **An image that has rows advances once in any S consecutive steps**, whatever its age, shape,
  steps and guidance: its N steps take at most S·N steps.
- **How long an image without rows waits.** If k images came before it that are of its size or have
  LoRAs, of at most N steps each, it gets rows after at most (k + (k + 1)·P)·S·N steps. Without any
  LoRAs in use k counts its size alone, P is 0, and the bound is k·S·N: it never waits for a later
  image. (While it waits, only those k images have what it needs, or images that passed it or one of
  them. All images that have rows are done after S·N steps, so by then at least one of these is.)

New arrivals change neither bound, so no traffic starves an image. A new shape increases S by one
and takes its first turn last. The bounds count steps; a step's duration depends on its shape and
rows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from easel_worker.admission import PASSES, Room, Use, admissible
from easel_worker.engine import StepShape
from easel_worker.image import Image
from easel_worker.tenants import Tenants, in_turn
from easel_worker.values import Size


class StepScheduler:
    """See the module's docstring. Not safe for several threads.

    Keeps every added request until its last image is finished or the request is cancelled.
    """

    def __init__(self, rows: int, sets: int = 0, passes: int = PASSES) -> None:
        """Args:

        rows: how many rows one step holds.
        sets: how many sets of LoRAs the images with rows may have.
        passes: how many images may pass one that waits for its set.
        """
        self._room = Room(rows, sets, passes)
        self._requests: dict[str, list[Image]] = {}  # by id: the images that have not ended
        self._waiting: list[Image] = []  # in order of arrival
        self._waiting_sizes: Counter[Size] = Counter()
        self._passed: dict[Image, int] = {}
        # The images with rows. The shapes are in the order of their turns, the next one first.
        self._running: dict[StepShape, list[Image]] = {}
        self._tenants = Tenants()

    @property
    def queued(self) -> int:
        """How many images wait for rows."""
        return len(self._waiting)

    @property
    def rows_in_use(self) -> int:
        """How many rows are in use, over all sizes; without those of images that are prepared."""
        images = self._with_rows()
        return sum(image.spec.rows for image in images if image.state != "preparing")

    @property
    def preparing(self) -> int:
        """How many images with rows are being prepared."""
        return sum(image.state == "preparing" for image in self._with_rows())

    @property
    def stalled(self) -> bool:
        """Whether there are images, and all that have rows are being prepared."""
        states = [image.state for image in self._with_rows()]
        return bool(states) and all(state == "preparing" for state in states)

    @property
    def busy(self) -> bool:
        """Whether any image has not ended."""
        return bool(self._requests)

    def __contains__(self, request: str) -> bool:
        """Whether the request with this id has images that have not ended."""
        return request in self._requests

    def images(self) -> Iterator[Image]:
        """Every image that has not ended; those with rows first, then by arrival."""
        for some in (*self._running.values(), self._waiting):
            yield from some

    def of(self, request: str) -> Sequence[Image]:
        """The images of a request that have not ended."""
        return self._requests.get(request, ())

    def _with_rows(self) -> Iterator[Image]:
        for images in self._running.values():
            yield from images

    def add(self, images: Sequence[Image]) -> None:
        """Queue the images of one request.

        Raises:
            ValueError: an image needs more rows than a step has, or no steps, or has LoRAs and no
                set may have a place.
        """
        room = self._room
        for image in images:
            rows, steps = image.spec.rows, image.spec.steps
            if rows > room.rows or steps < 1:
                raise ValueError(f"an image of {rows} rows and {steps} steps, in {room.rows} rows")
            if image.shape.adapters and not room.sets:
                raise ValueError("an image with LoRAs, without a place for their weights")
        for image in images:
            self._requests.setdefault(image.request.id, []).append(image)
            self._waiting.append(image)
            self._waiting_sizes[image.shape.size] += 1

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
        use = Use()
        for image in self._with_rows():
            use.add(image)
        waiting = self._in_turn(use)
        admitted = admissible(waiting, self._waiting_sizes, use, self._room, self._passed)
        for image in admitted:
            self._start(image)
        return admitted

    def _in_turn(self, use: Use) -> list[Image]:
        """The waiting images in the order in which they get rows."""
        if not self._room.fair or len({image.tenant.id for image in self._waiting}) < 2:
            return self._waiting
        rows: dict[int, int] = {}
        for (_, tenant), held in use.tenants.items():
            rows[tenant] = rows.get(tenant, 0) + held
        return in_turn(self._waiting, rows)

    def prepares(self, image: Image) -> None:
        """An admitted image takes part in no step until `prepared`."""
        image.state = "preparing"

    def prepared(self, image: Image) -> None:
        """An image takes part in steps from now on."""
        image.state = "running"
        self._find_tenants()

    def began(self, image: Image) -> bool:
        """Place an image whose lane is there, which may continue from a state.

        Returns whether it has no steps left.
        """
        if image.shape != image.lane.shape:
            self._hand_over(image)
        if image.steps_left == 0:
            image.state = "decoding"
        return image.steps_left == 0

    def depart(self) -> None:
        """From now on finish what can be finished, whoever it is for."""
        self._room = replace(self._room, fair=False)

    def took(self, images: Sequence[Image], seconds: float) -> None:
        """Count the seconds of one call of the engine for these images."""
        self._tenants.took(images, seconds)

    def next_step(self) -> list[Image]:
        """The images that advance in the next step; empty if no image has rows and steps left."""
        self._find_tenants()
        tenants = self._tenants.next() if self._room.fair else self._tenants.all()
        for shape, images in list(self._running.items()):
            able = [image for image in images if image.state == "running"]
            step = [image for image in able if image.tenant.id in tenants]
            if able and not step:
                continue
            self._running[shape] = self._running.pop(shape)  # its next turn comes last
            if step:
                return step
        return []

    def _find_tenants(self) -> None:
        """Say whose images can step."""
        images = self._with_rows()
        self._tenants.present({image.tenant.id for image in images if image.state == "running"})

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
            elif image.evaluations - image.steps_left == image.handover:
                self._hand_over(image)
        return done

    def _hand_over(self, image: Image) -> None:
        """The rest of an image's steps are the refiner's."""
        self._leave(image)
        image.shape = image.spec.refined_shape
        self._running.setdefault(image.shape, []).append(image)

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
        self._running.setdefault(image.shape, []).append(image)

    def _take_out(self, image: Image) -> None:
        """Remove an image from the list of its state."""
        shape = image.shape
        if image.state == "waiting":
            self._waiting.remove(image)
            self._passed.pop(image, None)
            self._waiting_sizes[shape.size] -= 1
            self._waiting_sizes += Counter()  # drops sizes without images
            return
        self._leave(image)

    def _leave(self, image: Image) -> None:
        """Remove an image from those of its shape that have rows."""
        self._running[image.shape].remove(image)
        if not self._running[image.shape]:
            del self._running[image.shape]
