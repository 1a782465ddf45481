"""An image's bytes do not depend on the images around it.

`python -m tests.soak_company` does the same for longer, and with a model on disk.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import jax
import pytest

from easel_worker.sdxl.samplers.sampler import make_table, needs_older, offered
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.pipeline.cases import SDXL_SCHEDULER
from tests.sdxl.engines import ahead, start
from tests.sdxl.test_engine import counted_compilations
from tests.sdxl.tiny_model import SIZES, long, tokens, write, write_refiner
from tests.support.company import Company, Repertoire, Tally
from tests.support.samples import generate, with_pictures

REPERTOIRE = Repertoire(
    prompts=[tokens(text) for text in ("", "a red circle", "a blue square", "blurry")],
    sizes=SIZES,
    schedulers=tuple(n for n in offered(SDXL_SCHEDULER) if not needs_older(n)),
)

OF_ONE_SIZE = replace(REPERTOIRE, sizes=SIZES[:1])

SAVING = replace(
    OF_ONE_SIZE,
    schedulers=offered(SDXL_SCHEDULER),
    steps=(2, 5, 7),
    guidances=(1.0, 7.0, 7.0),
    savings=(
        {},
        {"cache_interval": 2},
        {"cache_interval": 3},
        {"guidance_start": 0.25, "guidance_end": 0.75},
        {"guidance_end": 0.5, "cache_interval": 2},
        {"guidance_start": 0.3, "guidance_end": 0.8, "cache_interval": 3},
    ),
)


ONCE, TWICE = tokens("a red circle"), long("a red circle", "on blue")
HALF = (1.0, 1.0, 0.5, *(1.0 for _ in ONCE.ids[3:]))

PROMPTS = replace(
    OF_ONE_SIZE,
    savings=(
        {},
        {"prompt": TWICE, "negative": None},
        {"prompt": TWICE, "negative": long("blurry", ""), "guidance_end": 0.5},
        {"prompt": replace(ONCE, weights=HALF), "weighting": "a1111"},
        {
            "prompt": replace(ONCE, weights=HALF, masked=((2, 3),)),
            "weighting": "compel",
            "empty": tokens(""),
        },
    ),
)


def with_size(*roles: str, **changes: Any) -> dict[str, Any]:
    """The fields of a request with these pictures, of the first size."""
    width, height = SIZES[0]
    request = with_pictures(generate("r", width=width, height=height, **changes), *roles)
    return {"pictures": request.pictures, "frames": request.frames, **changes}


PICTURES = replace(
    OF_ONE_SIZE,
    schedulers=offered(SDXL_SCHEDULER),
    savings=(
        {},
        {},
        with_size("image", schedule_steps=6),
        with_size("image", schedule_steps=7, cache_interval=2),
        with_size("image", "mask"),
        with_size("image", "mask", schedule_steps=6, preview_every=1),
        with_size("image", "mask", schedule_steps=9, guidance_end=0.5, cache_interval=2),
        with_size("latents", latents_upscaler="latent-bicubic", schedule_steps=6),
        with_size("latents", latents_upscaler="latent-nearest", output_type="latent"),
        {"output_type": "latent", "preview_every": 1},
    ),
)


def divides(scheduler: str) -> bool:
    """Whether all images of `REFINED` with a sampler leave a step to each model."""
    for end, steps, begin in product((0.4, 0.5, 0.6), (6, 8), (0, 2)):
        try:
            make_table(SDXL_SCHEDULER, scheduler, steps + begin, begin=begin, end=end)
        except ValueError:
            return False
    return True


REFINED = replace(
    OF_ONE_SIZE,
    schedulers=tuple(filter(divides, offered(SDXL_SCHEDULER))),
    steps=(6, 8),
    savings=(
        {},
        {},
        {"denoising_end": 0.5},
        {"denoising_end": 0.6, "preview_every": 1, "aesthetic_score": 9.0},
        {"denoising_end": 0.4, "guidance_start": 0.3, "guidance_end": 0.8},
        {"denoising_end": 0.6, "prompt": TWICE, "negative": None},
        {"denoising_end": 0.5, "prompt": replace(ONCE, weights_2=HALF), "weighting": "a1111"},
        with_size("image", steps=6, schedule_steps=8, denoising_end=0.6),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("company"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> SdxlEngine:
    return start(folder, rows=5, sizes=None)


def played(company: Company, schedules: range) -> Tally:
    for seed in schedules:
        company.play(seed)
    return company.tally


def test_on_one_device(engine: SdxlEngine) -> None:
    tally = played(Company(engine, REPERTOIRE), range(220))
    assert tally.wrong == []
    assert tally.images > 700
    assert tally.cut_short > 150


def test_guided_unguided_full_and_cached_steps(folder: Path) -> None:
    """Guided, unguided, full and cached steps alternate in every lane, with every sampler."""
    saving = start(folder, rows=5, max_cache_interval=3, more_schedulers=True)
    company = Company(saving, SAVING)
    tally = played(company, range(3000, 3060))
    assert tally.wrong == []
    assert tally.images > 200


def test_long_and_weighted_prompts(folder: Path) -> None:
    """Images of one size with one and two chunks share the rows and take turns."""
    company = Company(start(folder, rows=5, max_prompt_chunks=2), PROMPTS)
    tally = played(company, range(4000, 4040))
    assert tally.wrong == []
    assert tally.images > 100


def test_images_from_noise_and_from_pictures(folder: Path) -> None:
    """They share steps, and nothing is compiled for any of them."""
    options = {"max_cache_interval": 2, "more_schedulers": True, "image_inputs": True}
    company = Company(start(folder, ahead(), rows=5, **options), PICTURES)
    with counted_compilations() as seen:
        tally = played(company, range(5000, 5080))
    assert tally.wrong == []
    assert tally.images > 250
    assert seen == []


def test_an_inpainting_model(tmp_path: Path) -> None:
    """Every image brings its own mask and picture to the steps that it shares."""
    options = {"max_cache_interval": 2, "more_schedulers": True, "image_inputs": True}
    folder = write(tmp_path / "inpainting", {"in_channels": 9})
    company = Company(start(folder, ahead(), rows=5, **options), PICTURES)
    with counted_compilations() as seen:
        tally = played(company, range(6000, 6040))
    assert tally.wrong == []
    assert tally.images > 120
    assert seen == []


def test_images_that_a_refiner_finishes(folder: Path, tmp_path: Path) -> None:
    """The refiner's steps are a group of their own, and nothing is compiled for any image."""
    options = {"more_schedulers": True, "image_inputs": True, "max_prompt_chunks": 2}
    refiner = write_refiner(tmp_path / "refiner")
    made = start(folder, ahead(), rows=5, refiner=refiner, **options)
    company = Company(made, REFINED)
    with counted_compilations() as seen:
        tally = played(company, range(7000, 7040))
    assert tally.wrong == []
    assert tally.images > 100
    assert seen == []


def test_on_four_devices(engine: SdxlEngine, folder: Path) -> None:
    four = start(folder, rows=16, devices=jax.devices()[:4])
    company = Company(four, OF_ONE_SIZE, alone=engine)
    tally = played(company, range(1000, 1040))
    assert tally.wrong == []
    assert tally.images > 100


def test_in_batches_of_a_fixed_count(folder: Path) -> None:
    """A single image is padded with copies of itself, so it always runs the same program."""
    company = Company(start(folder, rows=8, batch_lanes=(3,)), OF_ONE_SIZE)
    tally = played(company, range(2000, 2040))
    assert tally.wrong == []
    assert tally.images > 100
