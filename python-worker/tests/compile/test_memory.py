"""Which programs say how much an image in flight holds."""

from easel_worker.compile.counting_compiler import Counted
from easel_worker.compile.memory import residents
from easel_worker.compile.program_count import Count
from easel_worker.sdxl.folder.model import SdxlParams, TextParams

NO_WEIGHTS = SdxlParams(unet={}, vae={}, text=TextParams({}, {}))


def counted(name: str, beside_weights: int) -> Counted:
    count = Count(0, 0, 0, 0, 0, {}, (), {})
    return Counted(name, 1.0, count, beside_weights, None, ())


def test_an_image_holds_what_its_largest_step_takes() -> None:
    plain = [
        counted("decode 64x64", 10_000),
        counted("denoise 64x64 guided x2", 200),
        counted("denoise 64x64 unguided x4", 5000),
    ]
    assert residents(NO_WEIGHTS, plain).image == 100
    cached = counted("denoise 64x64 guided cached x2", 700)
    assert residents(NO_WEIGHTS, [*plain, cached]).image == 350
