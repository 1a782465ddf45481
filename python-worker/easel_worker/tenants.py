"""Shares the worker's time between tenants, by their weights. Pure: no clock.

A tenant is whoever the gateway says an image is for: an access key, in one class. It comes as a
number with a weight (`protocol.Tenant`). Images without one have the tenant 0, of weight 1.

What a tenant has used is the seconds of the engine's calls for its images, divided by its weight.
A call for images of several tenants counts for each by its rows. Only tenants that have used the
least take part in a step, so while two tenants have images to step, what they have used in steps
differs by at most the largest part of one step that either had to its weight. Encodings and
decodings count too, but are not held back.

A tenant that comes starts with what the least user has used: it gets no credit for the time before.
"""

from collections.abc import Collection, Iterable, Mapping

from easel_worker.image import Image

_ROUNDING = 1e-9  # relative tolerance for the rounding of sums of floats


class Tenants:
    """What tenants with images in flight have used."""

    def __init__(self) -> None:
        self._used: dict[int, float] = {}

    def present(self, tenants: Collection[int]) -> None:
        """Say which tenants have images that can step. The others are forgotten."""
        if self._used.keys() == set(tenants):
            return
        least = min((used for name, used in self._used.items() if name in tenants), default=0.0)
        self._used = {name: self._used.get(name, least) for name in tenants}

    def next(self) -> set[int]:
        """The tenants that may take part in the next step: those that have used the least."""
        least = min(self._used.values(), default=0.0)
        return {name for name, used in self._used.items() if used <= least * (1 + _ROUNDING)}

    def all(self) -> set[int]:
        """All that are present."""
        return set(self._used)

    def took(self, images: Iterable[Image], seconds: float) -> None:
        """Count a call of the engine for these images."""
        rows = {image: image.spec.rows for image in images}
        for image, each in rows.items():
            tenant = image.tenant
            if tenant.id in self._used:
                part = seconds * each / sum(rows.values())
                self._used[tenant.id] += part / tenant.weight


def in_turn(waiting: Iterable[Image], rows: Mapping[int, int]) -> list[Image]:
    """Waiting images in the order in which they get rows: whose tenant has fewest by its weight.

    Images of one tenant stay in order of arrival.

    Args:
        waiting: in order of arrival.
        rows: how many rows each tenant has now; a tenant that is not there has none.
    """
    lists: dict[int, list[Image]] = {}
    for image in waiting:
        lists.setdefault(image.tenant.id, []).append(image)
    held = {name: rows.get(name, 0) / images[0].tenant.weight for name, images in lists.items()}
    places = dict.fromkeys(lists, 0)
    order: list[Image] = []
    while places:
        name = min(places, key=held.__getitem__)  # the one that came first of equals
        image = lists[name][places[name]]
        order.append(image)
        held[name] += image.spec.rows / image.tenant.weight
        places[name] += 1
        if places[name] == len(lists[name]):
            del places[name]
    return order
