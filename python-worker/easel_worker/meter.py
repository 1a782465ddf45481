"""Charges the engine's time to images.

The law: at any time between two calls of the engine, `Vitals.busy` has counted as many milliseconds
as all images' `used` and the padding together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from easel_worker.engine import Engine
from easel_worker.image import Image
from easel_worker.protocol import Used
from easel_worker.vitals import Vitals

Work = Literal["encode", "denoise", "preview", "decode"]


@dataclass(frozen=True)
class Meter:
    """Measures calls of the engine.

    Attributes:
        took: told of each call: its images and its seconds.
    """

    engine: Engine
    vitals: Vitals
    took: Callable[[Sequence[Image], float], None]

    @contextmanager
    def call(self, work: Work, images: Sequence[Image]) -> Iterator[None]:
        """Charge the call of the engine inside to these images by their rows, even if it raises.

        What it computed only to fill a program is charged to nobody.
        """
        rows = {image: _rows(work, image) for image in images}
        start, padded_before = self.engine.clock(), self.engine.rows_padded()
        try:
            yield
        finally:
            seconds = self.engine.clock() - start
            padded = self.engine.rows_padded() - padded_before
            each = seconds / (sum(rows.values()) + padded)
            for image, mine in rows.items():
                image.used[work] += mine * each
            self.vitals.busy(seconds, padded * each)
            self.took(images, seconds)


def used_by(images: Iterable[Image]) -> Used:
    """What images have used together."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for image in images:
        for work, each in image.used.items():
            seconds[work] += each
    return Used(**{f"{work}_ms": round(each * 1000, 3) for work, each in seconds.items()})


def _rows(work: Work, image: Image) -> int:
    return image.spec.rows_at(image.lane.step) if work == "denoise" else 1
