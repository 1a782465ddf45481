"""The comparison that tests/sdxl/test_company.py uses finds an image that depends on another."""

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
    """Wraps the fake engine: one value of an image that shared a step is off by 1."""

    def __init__(self) -> None:
        self._shared: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(ENGINE, name)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Remember which images shared a step."""
        ENGINE.step(lanes)
        if len(lanes) > 1:
            self._shared.update(map(id, lanes))

    def finish(self, lane: Lane) -> Pixels:
        """Change one value."""
        pixels = ENGINE.finish(lane)
        if id(lane) in self._shared:
            pixels[-1, -1, -1] ^= 1
        return pixels


def test_finds_images_that_other_images_change() -> None:
    company = Company(Leaky(), REPERTOIRE, alone=ENGINE)
    for seed in range(10):
        company.play(seed)
    assert 0 < len(company.tally.wrong) == company.tally.different < company.tally.images
    assert company.tally.largest == 1


def test_accepts_images_that_other_images_do_not_change() -> None:
    company = Company(ENGINE, REPERTOIRE)
    for seed in range(10):
        company.play(seed)
    assert (company.tally.wrong, company.tally.different) == ([], 0)
