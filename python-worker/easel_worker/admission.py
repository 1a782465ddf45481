"""Decides which waiting images get rows: part of the step scheduler's rules. Pure.

`step_scheduler` states the rules and their bounds. The forecast of a departing worker applies the
same rules to the future.
"""

from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import dataclass, field

from msgspec import UNSET

from easel_worker.engine import AdapterSet
from easel_worker.image import Image
from easel_worker.values import Size

PASSES = 8
"""How many images may pass one that waits for its set of LoRAs."""


@dataclass(frozen=True)
class Room:
    """What images in flight share.

    Attributes:
        rows: rows of a step; each size has so many.
        sets: how many different sets of LoRAs, besides none, images with rows may have.
        passes: see `PASSES`.
        fair: whether it is shared between tenants; a departing worker finishes what it can.
    """

    rows: int
    sets: int = 0
    passes: int = PASSES
    fair: bool = True

    @property
    def rows_of_tenant(self) -> int:
        """How many rows of a size one stated tenant may have: the rest is for others to begin at
        once."""
        return self.rows - 2 * (self.rows // 8)


@dataclass
class Use:
    """What the images with rows use: rows of each size, also by tenant, and sets of LoRAs."""

    rows: dict[Size, int] = field(default_factory=dict)
    tenants: dict[tuple[Size, int], int] = field(default_factory=dict)
    sets: set[AdapterSet] = field(default_factory=set)

    def add(self, image: Image) -> None:
        """Count an image."""
        size, adapters = image.shape.size, image.shape.adapters
        self.rows[size] = self.rows.get(size, 0) + image.spec.rows
        mine = size, image.tenant.id
        self.tenants[mine] = self.tenants.get(mine, 0) + image.spec.rows
        if adapters:
            self.sets.add(adapters)

    def exceeds(self, image: Image, room: Room) -> bool:
        """Whether the image's tenant would have more rows of its size than one may have."""
        if image.request.tenant is UNSET or not room.fair:
            return False
        held = self.tenants.get((image.shape.size, image.tenant.id), 0)
        return held + image.spec.rows > room.rows_of_tenant


def admissible(
    waiting: Iterable[Image],
    sizes: Collection[Size],
    use: Use,
    room: Room,
    passed: MutableMapping[Image, int],
) -> list[Image]:
    """The images that get rows now, in order.

    Args:
        waiting: the images without rows, in the order in which they get them.
        sizes: of these images.
        use: what the images with rows use. The admitted ones are added, and so are the sets that
            images without rows are to have next.
        room: what there is.
        passed: how many images have passed one that waits for its set.
    """
    admitted: list[Image] = []
    refused: list[Image] = []
    full: set[Size] = set()
    closed: set[Size] = set()
    sets_closed = False
    for image in waiting:
        if use.exceeds(image, room):
            continue
        size, adapters = image.shape.size, image.shape.adapters
        if adapters and adapters not in use.sets:
            if len(use.sets) >= room.sets:
                refused.append(image)
                if passed.get(image, 0) >= room.passes:
                    closed.add(size)
                    sets_closed = True
                continue
            use.sets.add(adapters)  # kept for it, even if it must wait for rows
        if size in full or size in closed or (adapters and sets_closed):
            continue
        if use.rows.get(size, 0) + image.spec.rows > room.rows:
            full.add(size)
            if len(full) == len(sizes):
                break
            continue
        admitted.append(image)
        use.add(image)
        for other in refused:
            if adapters or other.shape.size == size:
                passed[other] = passed.get(other, 0) + 1
                if passed[other] >= room.passes:
                    closed.add(other.shape.size)
                    sets_closed = True
    return admitted
