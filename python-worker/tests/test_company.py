"""What compares images in company with images alone (tests/sdxl/test_company.py) sees a leak."""

from collections.abc import Sequence
from typing import Any

from easel_worker.engine import Lane, Pixels
from easel_worker.fake.engine import SCHEDULERS, FakeEngine
from easel_worker.fake.options import Options
from tests.support.company import Company, Repertoire
from tests.support.samples import SMALL, generate, spec_of

AT_ONCE = {"fake_step_ms": 0, "fake_encode_ms": 0, "fake_decode_ms": 0}
ENGINE = FakeEngine(Options(**AT_ONCE, sizes=(SMALL,), rows=4))
REPERTOIRE = Repertoire([spec_of(generate("a"), 1).prompt], (SMALL,), SCHEDULERS)


class Leaky:
    """An engine around the fake one: an image that shared a step has one value that is off by 1."""

    def __init__(self) -> None:
        self._shared: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(ENGINE, name)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Remember who shared a step."""
        ENGINE.step(lanes)
        if len(lanes) > 1:
            self._shared.update(map(id, lanes))

    def finish(self, lane: Lane) -> Pixels:
        """Change one value."""
        pixels = ENGINE.finish(lane)
        if id(lane) in self._shared:
            pixels[-1, -1, -1] ^= 1
        return pixels


def test_images_that_their_neighbours_change_are_found() -> None:
    company = Company(Leaky(), REPERTOIRE, alone=ENGINE)
    for seed in range(10):
        company.play(seed)
    assert 0 < len(company.tally.wrong) == company.tally.different < company.tally.images
    assert company.tally.largest == 1


def test_images_that_they_do_not_change_are_right() -> None:
    company = Company(ENGINE, REPERTOIRE)
    for seed in range(10):
        company.play(seed)
    assert (company.tally.wrong, company.tally.different) == ([], 0)
