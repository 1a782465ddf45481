"""The fake engine implements the interface, takes its time, and fails on demand."""

from pathlib import Path
from typing import Any

import pytest

from easel_worker.engine import ImageSpec, InvalidRequest
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.image import canonical_text, picture
from easel_worker.fake.options import Fault, Options, StepTime
from tests.support.samples import SMALL, generate, spec_of

DEMO = Path(__file__).parents[2] / "models" / "demo"


class Exited(BaseException):
    """The engine ended the process."""


def engine(*faults: Fault, **options: Any) -> tuple[FakeEngine, list[float]]:
    """An engine that does not wait, and a list of the times it would have waited."""
    slept: list[float] = []
    chosen = Options(sizes=(SMALL,), fake_faults=faults, **options)
    return FakeEngine(chosen, sleep=slept.append), slept


def spec(seed: int = 1, **changes: Any) -> ImageSpec:
    return spec_of(generate("r", **changes), seed)


def test_an_image_takes_the_configured_time() -> None:
    fake, slept = engine(fake_warm_ms=4000, fake_encode_ms=20, fake_step_ms=100, fake_decode_ms=30)
    fake.warm(lambda _: None)
    lane = fake.start(spec())
    for _ in range(4):
        fake.step([lane])
    pixels = fake.finish(lane)
    assert slept == [4.0, 0.02, 0.1, 0.1, 0.1, 0.1, 0.03]
    assert pixels.tobytes() == picture(canonical_text(spec()), *SMALL).tobytes()


def test_lanes_of_different_specs_share_a_step() -> None:
    fake, slept = engine(rows=3, fake_step_ms=100, fake_encode_ms=0)
    first, second = fake.start(spec(1, steps=2)), fake.start(spec(2, steps=9, guidance=1.0))
    fake.step([first, second])
    assert (first.step, second.step, slept) == (1, 1, [0.1])


def test_a_step_may_take_longer_with_more_rows_and_larger_sizes() -> None:
    fake, slept = engine(
        fake_step_ms=7, fake_encode_ms=0, fake_step_times=((SMALL, StepTime(100, 10)),)
    )
    guided, unguided = fake.start(spec(1)), fake.start(spec(2, guidance=1.0))
    fake.step([guided])
    fake.step([guided, unguided])
    fake.step([fake.start(spec(3, width=32))])
    assert slept == [0.12, 0.13, 0.007]


def test_a_preview_is_small_and_depends_on_the_step() -> None:
    fake, _ = engine()
    lane = fake.start(spec())
    fake.step([lane])
    text = canonical_text(spec()) + "|1"
    assert fake.preview(lane).tobytes() == picture(text, SMALL[0] // 8, SMALL[1] // 8).tobytes()


def test_its_weights_decide_its_digest_and_its_images() -> None:
    plain, _ = engine()
    other, _ = engine(fake_weights="b")
    assert plain.capabilities.model.digest != other.capabilities.model.digest
    lane = other.start(spec(steps=1))
    other.step([lane])
    text = canonical_text(spec(steps=1)) + "|weights=b"
    assert other.finish(lane).tobytes() == picture(text, *SMALL).tobytes()


def test_a_refiner_takes_over_in_the_middle(tmp_path: Path) -> None:
    fake, _ = engine(rows=8, refiner=tmp_path / "refiner.safetensors")
    assert fake.capabilities.model.refiner == "refiner"
    lane = fake.start(spec(denoising_end=0.8))
    assert (lane.evaluations, lane.handover) == (4, 3)
    shapes = []
    while lane.step < 4:
        shapes.append(lane.shape)
        fake.step([lane])
    assert [shape.refined for shape in shapes] == [False, False, False, True]
    early, late = fake.start(spec(denoising_end=0.1)), fake.start(spec())
    assert early.handover == 1
    fake.step([early, late])
    with pytest.raises(ValueError, match="one shape"):
        fake.step([early, late])
    with pytest.raises(InvalidRequest, match="needs 2 steps"):
        fake.start(spec(steps=1, denoising_end=0.8))


def test_it_checks_the_interfaces_conditions() -> None:
    fake, _ = engine(rows=2)
    lane = fake.start(spec(steps=1))
    with pytest.raises(ValueError, match="one shape"):
        fake.step([fake.start(spec(width=32)), lane])
    with pytest.raises(ValueError, match="2 rows"):
        fake.step([lane, fake.start(spec())])
    with pytest.raises(ValueError, match="after 0 of 1 steps"):
        fake.finish(lane)
    fake.step([lane])
    with pytest.raises(ValueError, match="no steps left"):
        fake.step([lane])


def test_faults_happen_only_at_their_stage_and_seed() -> None:
    fake, _ = engine(
        Fault("invalid", "encode", 2), Fault("raise", "2", 3), Fault("oom", "decode", 4)
    )
    with pytest.raises(InvalidRequest):
        fake.start(spec(2))
    three, four = fake.start(spec(3, steps=2)), fake.start(spec(4, steps=2))
    fake.step([three, four])
    with pytest.raises(RuntimeError, match="raise at 2"):
        fake.step([three, four])
    assert (three.step, four.step) == (1, 1)
    fake.step([four])
    with pytest.raises(MemoryError):
        fake.finish(four)


def test_faults_at_warm_need_no_seed() -> None:
    fake, _ = engine(Fault("oom", "warm"))
    with pytest.raises(MemoryError):
        fake.warm(lambda _: None)


def test_a_fault_can_end_the_process() -> None:
    def leave(status: int) -> None:
        raise Exited(status)

    fake = FakeEngine(Options(fake_faults=(Fault("exit", "1", 5),)), exit_process=leave)
    lane = fake.start(spec(5))
    with pytest.raises(Exited, match="70"):
        fake.step([lane])


def test_it_takes_the_models_tokenizers() -> None:
    fake = FakeEngine(Options(), DEMO)
    first, second = fake.capabilities.tokenizers
    assert (first.pad_id, second.pad_id) == (49407, 0)
    assert first.digest == second.digest
    assert first.digest != engine()[0].capabilities.tokenizers[0].digest
