"""Images that a refiner finishes: two parts of an image, and where one ends. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from easel_worker.engine import ImageSpec
from parity import cases
from parity.pipeline.cases import SIGMAS, TIMESTEPS, UNIPC, PipelineCase
from parity.schedulers.cases import SCHEDULERS

MODEL, REFINER = cases.SDXL_BASE_IN_SMALL, cases.REFINER

ENDS = (0.3, 0.6, 0.8)


@dataclass(frozen=True)
class EnsembleCase:
    """An image of two models.

    Attributes:
        image: the base model's part.
        end: `denoising_end`.
        scores: the refiner's further arguments.
    """

    image: PipelineCase
    end: float
    scores: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """That of the image."""
        return self.image.name

    @property
    def refined(self) -> PipelineCase:
        """The refiner's part as an image of its own."""
        more = {k: v for k, v in self.image.more.items() if "target" not in k}
        return replace(
            self.image,
            model=REFINER,
            strength=None,
            zeros_for_no_negative=False,
            more=more | self.scores,
        )

    def spec(self) -> ImageSpec:
        """Return the same image as our engine's spec."""
        return replace(self.image.spec(), denoising_end=self.end, **self.scores)


def _case(scheduler: str, end: float, *, guided: bool, strength: float | None = None) -> Any:
    kind = "text" if strength is None else f"image {strength}"
    how = "guided" if guided else "unguided"
    image = PipelineCase(
        f"ensemble {scheduler} {kind} {how} {end}",
        MODEL,
        scheduler=scheduler,
        settings=UNIPC,
        guidance=3.0 if guided else 1.0,
        strength=strength,
    )
    return EnsembleCase(image, end)


def all_cases() -> Iterator[EnsembleCase]:
    """Each sampler with each end, guided and not, from text; and from pictures."""
    for scheduler, end, guided in product(SCHEDULERS, ENDS, (True, False)):
        yield _case(scheduler, end, guided=guided)
    for scheduler, end in product(SCHEDULERS, (0.6, 0.8)):
        yield _case(scheduler, end, guided=True, strength=0.85)
    yield from _others()


def _others() -> Iterator[EnsembleCase]:
    """What only some images have."""

    def image(name: str, **changes: Any) -> PipelineCase:
        plain: PipelineCase = _case("euler", 0.6, guided=True).image
        return replace(plain, name=f"ensemble-{name}", **changes)

    yield EnsembleCase(
        image("scores-and-sizes", negative="blurry", clip_skip=1, more={"original_size": (40, 80)}),
        0.6,
        {"aesthetic_score": 9.5, "negative_aesthetic_score": 0.0},
    )
    yield EnsembleCase(
        image(
            "negative-sizes-rescale",
            negative="dark",
            more={
                "guidance_rescale": 0.7,
                "negative_original_size": (512, 768),
                "negative_crops_coords_top_left": (0, 16),
                "negative_target_size": (1024, 640),
            },
        ),
        0.8,
    )
    yield EnsembleCase(image("timesteps", more={"timesteps": TIMESTEPS}), 0.6)
    yield EnsembleCase(image("sigmas", more={"sigmas": SIGMAS}), 0.6)
    yield EnsembleCase(image("eta", scheduler="ddim", more={"eta": 0.5}), 0.3)
    yield EnsembleCase(
        image("spacing", scheduler="dpmpp_2m", more={"timestep_spacing": "trailing"}), 0.6
    )
    yield EnsembleCase(image("odd-steps", scheduler="dpmpp_2s", steps=9), 0.6)
    for steps in (6, 7):
        yield EnsembleCase(image(f"heun-{steps}", scheduler="heun", steps=steps), 0.8)


_SPACED = ("_exponential", "_beta")


def _golden() -> Iterator[EnsembleCase]:
    """Each sampler once, but of those that space sigmas only Karras'."""
    plain = [name for name in SCHEDULERS if not name.endswith(_SPACED)]
    for number, scheduler in enumerate(plain):
        strength = 0.85 if number % 4 == 3 else None
        ends = ENDS if strength is None else ENDS[1:]
        yield _case(scheduler, ends[number % len(ends)], guided=number % 5 != 2, strength=strength)
    yield from _others()


ENSEMBLE_CASES = tuple(_golden())
"""Those of which the golden file has images."""
