"""Which programs decide how much memory an image in flight holds, and what LoRAs add."""

from easel_worker.compile import table
from easel_worker.compile.counting_compiler import Counted
from easel_worker.compile.memory import residents
from easel_worker.compile.program_cost import ProgramCost
from easel_worker.sdxl.folder.model import SdxlParams, TextParams
from easel_worker.sdxl.serving.lora_memory import LoraBytes

NO_WEIGHTS = SdxlParams(unet={}, vae={}, text=TextParams({}, {}))


def counted(name: str, beside_weights: int) -> Counted:
    cost = ProgramCost(0, 0, 0, 0, {}, None)
    return Counted(name, 1.0, cost, beside_weights, None)


def test_an_image_holds_the_arguments_of_its_largest_step() -> None:
    plain = [
        counted("decode 64x64", 10_000),
        counted("denoise 64x64 guided x2", 200),
        counted("denoise 64x64 unguided x4", 5000),
    ]
    assert residents(NO_WEIGHTS, plain).image == 100
    cached = counted("denoise 64x64 guided cached x2", 700)
    assert residents(NO_WEIGHTS, [*plain, cached]).image == 350


def test_says_what_loras_need_besides() -> None:
    plain = "with LORAS: 5 MiB more for each set of LORA_SETS whose LoRAs change all linear layers"
    assert table.lora_line(LoraBytes(0, 5 * 2**20)) == plain
    int8 = f"{plain}, and 3 MiB on it or in the host's memory for all of them"
    assert table.lora_line(LoraBytes(3 * 2**20, 5 * 2**20)) == int8
