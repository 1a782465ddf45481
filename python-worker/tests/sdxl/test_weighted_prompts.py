"""Long and weighted prompts: compel's and AUTOMATIC1111's embeddings, and what the engine does."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from easel_worker import specs
from easel_worker.engine import PROMPT_WEIGHTS, ImageSpec, InvalidRequest, Pixels
from easel_worker.sdxl.serving import weighting
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.pipeline.ours import LIMIT, SHARE_LIMIT, difference, engine_for, make, share_different
from parity.weights.cases import IMAGE, WEIGHTS_CASES, WeightsCase, spec_of, tokens_of
from tests.sdxl.conftest import FolderMaker
from tests.sdxl.engines import COMPILER, ahead, start
from tests.sdxl.test_engine import counted_compilations
from tests.sdxl.tiny_model import LENGTH, long, spec, tokens, write

GOLDEN = Path(__file__).parents[1] / "goldens" / "weights.npz"


@pytest.fixture(scope="module")
def reference_engine(
    golden_folder: FolderMaker, tmp_path_factory: pytest.TempPathFactory
) -> SdxlEngine:
    _, folder = golden_folder(IMAGE.model.name)
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("weights") / "model")
    return engine_for(IMAGE, copy, chunks=2, compiler=COMPILER)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SdxlEngine:
    folder = write(tmp_path_factory.mktemp("tiny"))
    return start(folder, ahead(), max_prompt_chunks=3)


def golden(case: WeightsCase) -> dict[str, Any]:
    prefix = f"{case.name}/"
    stored = np.load(GOLDEN)
    return {name.removeprefix(prefix): stored[name] for name in stored if name.startswith(prefix)}


def image(engine: SdxlEngine, wanted: ImageSpec) -> Pixels:
    specs.check(wanted, engine.capabilities)
    lane = engine.start(wanted)
    for _ in range(wanted.steps):
        engine.step([lane])
    return engine.finish(lane)


def weights(value: float, at: int = 2, chunks: int = 1) -> tuple[float, ...]:
    return tuple(value if i == at else 1.0 for i in range(LENGTH * chunks))


@pytest.mark.parametrize("case", WEIGHTS_CASES, ids=lambda case: case.name)
def test_embeddings_and_image_equal_the_references(
    case: WeightsCase, reference_engine: SdxlEngine
) -> None:
    stored = golden(case)
    wanted = spec_of(case, tokens_of(stored))
    specs.check(wanted, reference_engine.capabilities)
    [*_, prompt] = reference_engine.prompts_of(wanted)
    assert_allclose(prompt.prompt.context, stored["context"], rtol=1e-4, atol=1e-4)
    assert_allclose(prompt.prompt.pooled, stored["pooled"], rtol=1e-4, atol=1e-5)
    picture = make(reference_engine, wanted, IMAGE.noise())
    assert difference(picture, stored["image"]) <= LIMIT
    assert share_different(picture, stored["image"]) <= SHARE_LIMIT


def test_the_references_differ_from_each_other_and_from_no_weights() -> None:
    """The golden images would pass no test in which weights are ignored."""
    images = [golden(case)["image"] for case in WEIGHTS_CASES]
    for number, one in enumerate(images):
        assert all(difference(one, other) > 2 * LIMIT for other in images[:number])


def test_everything_is_offered_after_warm(engine: SdxlEngine) -> None:
    can = engine.capabilities
    assert PROMPT_WEIGHTS in can.features
    assert can.limits.max_chunks == 3
    names = [program.name for program in can.programs]
    assert "denoise 16x8 guided x1 3 chunks" in names


def test_no_prompt_compiles_anything_after_warm(engine: SdxlEngine) -> None:
    image(engine, spec())  # numpy and jax trace some of their own at the first image
    wanted = [
        spec(prompt=long("a", "b"), negative=long("c", "d")),
        spec(prompt=long("a", "b", "c"), guidance=1.0),
        spec(prompt=long("a", "b"), guidance_end=0.5),
        spec(prompt=replace(tokens("a"), weights=weights(1.5)), weighting="a1111"),
        spec(
            prompt=replace(tokens("a"), weights=weights(0.5), masked=((2, 3),)),
            weighting="compel",
            empty=tokens(""),
        ),
    ]
    with counted_compilations() as compiled:
        images = [image(engine, each) for each in wanted]
    assert compiled == []
    assert len({each.tobytes() for each in images}) == len(wanted)


def test_weights_of_one_change_no_byte(engine: SdxlEngine) -> None:
    for plain in (spec(), spec(prompt=long("a red circle", "on blue"))):
        ones = (1.0,) * len(plain.prompt.ids)
        prompt = replace(plain.prompt, weights=ones, weights_2=ones)
        for extra in ({"weighting": "a1111"}, {"weighting": "compel", "empty": tokens("")}):
            assert np.array_equal(
                image(engine, replace(plain, prompt=prompt, **extra)), image(engine, plain)
            )


def test_each_part_of_a_weighted_prompt_is_part_of_the_cache(engine: SdxlEngine) -> None:
    text = tokens("a red circle")
    prompts = [
        text,
        replace(text, weights=weights(1.5)),
        replace(text, weights=weights(1.6)),
        replace(text, weights_2=weights(1.5)),
        replace(text, weights=weights(0.5), masked=((2, 3),)),
        replace(text, weights=weights(0.5), masked=((2, 4),)),
        replace(text, weights_2=weights(0.5), masked_2=((2, 3),)),
        replace(text, pooled_ids_2=tokens("a blue square").ids_2),
    ]
    made = [
        image(engine, spec(prompt=prompt, weighting="compel", empty=tokens("")))
        for prompt in prompts
    ]
    assert len({each.tobytes() for each in made}) == len(prompts)
    assert np.array_equal(
        image(engine, spec(prompt=prompts[1], weighting="compel", empty=tokens(""))), made[1]
    )
    other = image(engine, spec(prompt=prompts[1], weighting="a1111"))
    assert not np.array_equal(other, made[1])


def test_a_negative_prompt_has_weights_of_its_own(engine: SdxlEngine) -> None:
    negative = tokens("blurry")
    plain = spec(negative=negative, weighting="a1111")
    weighted = replace(plain, negative=replace(negative, weights=weights(1.5, at=1)))
    assert not np.array_equal(image(engine, weighted), image(engine, plain))


def test_lanes_with_other_numbers_of_chunks_cannot_share_a_step(engine: SdxlEngine) -> None:
    lanes = [engine.start(spec()), engine.start(spec(prompt=long("a", "b")))]
    with pytest.raises(ValueError, match="cannot share a step"):
        engine.step(lanes)


def test_company_does_not_change_an_image_of_a_long_prompt(engine: SdxlEngine) -> None:
    wanted = spec(prompt=long("a red circle", "on blue"), seed=4)
    alone = image(engine, wanted)
    lanes = [engine.start(replace(wanted, seed=seed)) for seed in (3, 4, 5)]
    for _ in range(wanted.steps):
        engine.step(lanes)
    assert np.array_equal(engine.finish(lanes[1]), alone)


def test_weights_that_overflow_are_the_requests_fault(engine: SdxlEngine) -> None:
    """a1111 divides by the mean of the weighted states, which is 0 with weights of 0."""
    nothing = replace(tokens("a"), weights=(0.0,) * LENGTH)
    with pytest.raises(InvalidRequest, match="use smaller weights"):
        engine.start(spec(prompt=nothing, weighting="a1111"))


@pytest.mark.parametrize(
    "options",
    [
        {"split_guidance": True, "devices": jax.devices()[:2]},
        {"max_cache_interval": 3},
        {"batch_lanes": (2,)},
    ],
    ids=["split guidance", "cached steps", "batched lanes"],
)
def test_long_prompts_work_with_other_options(options: dict[str, Any], tmp_path: Path) -> None:
    engine = start(write(tmp_path / "tiny"), rows=4, max_prompt_chunks=2, **options)
    interval = engine.capabilities.limits.max_cache_interval
    wanted = spec(prompt=long("a red circle", "on blue"), steps=5, cache_interval=interval)
    lanes = [engine.start(wanted), engine.start(replace(wanted, guidance_end=0.5))]
    for _ in range(5):
        engine.step(lanes)
    images = [engine.finish(lane) for lane in lanes]
    assert not np.array_equal(*images)
    assert images[0].std() > 1


def test_hidden_spans_leave_the_ends_of_a_chunk_visible() -> None:
    def shown(chunk: int, *span: int) -> str:
        seen = weighting.visible(6, chunk, (span[0], span[1]))
        return "".join("x" if each else "." for each in seen)

    assert shown(0, 2, 4) == "xx..xx"
    assert shown(0, 0, 6) == "x....x"
    assert (shown(0, 4, 9), shown(1, 4, 9)) == ("xxxx.x", "x..xxx")
    assert shown(1, 1, 3) == "xxxxxx"


def test_blending_halves_at_half_the_weight() -> None:
    plain, without = np.full((1, 2, 3), 4.0, np.float32), np.zeros((1, 2, 3), np.float32)
    assert_allclose(weighting.blend(plain, [without], [0.5]), 2.0)
    assert_allclose(weighting.blend(plain, [without], [0.0]), 0.0, atol=1e-3)
    assert_allclose(weighting.blend(plain, [], []), 4.0)
