"""Reading the TPU compiler's output: HLO with estimates, and kernels' schedules."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from easel_worker.compile.chips import CHIPS, chip_of, roofline
from easel_worker.compile.hlo import Kind, instructions
from easel_worker.compile.kernel_work import kernel_work
from easel_worker.compile.schedule import kernel_cycles, scheduled_cycles
from easel_worker.sdxl.kernels import attention, convolution, int8_linear
from easel_worker.sdxl.model.int8 import Int8Linear
from easel_worker.sdxl.serving.sharding import make_mesh

PROGRAM = """HloModule jit_f, is_scheduled=true

%fused.1 (p0: bf16[8,8]) -> bf16[8,8] {
  %p0 = bf16[8,8]{1,0} parameter(0)
  ROOT %convolution.1 = bf16[8,8]{1,0} convolution(%p0, %p0), dim_labels=bf_io->bf
}

%fused.2 (p1: bf16[1,8,8,8]) -> bf16[1,8,8,8] {
  %p1 = bf16[1,8,8,8]{3,2,1,0} parameter(0)
  ROOT %convolution.2 = bf16[1,8,8,8]{3,2,1,0} convolution(%p1, %p1), window={size=3x3 pad=1_1x1_1}
}

%body.1 (p2: (s32[], bf16[8,8])) -> (s32[], bf16[8,8]) {
  %p2 = (s32[], bf16[8,8]{1,0}) parameter(0)
  %mine.13 = bf16[8,8]{1,0} custom-call(%p2), custom_call_target="tpu_custom_call"
  ROOT %inside.1 = (s32[], bf16[8,8]{1,0}) fusion(%mine.13), backend_config={"estimated_cycles":"7"}
}

%condition.1 (p3: (s32[], bf16[8,8])) -> pred[] {
  %p3 = (s32[], bf16[8,8]{1,0}) parameter(0)
  %limit.1 = s32[]{:T(128)} constant(4)
  ROOT %less.1 = pred[]{:T(512)} compare(%p3, %limit.1), direction=LT
}

ENTRY %main (x: bf16[8,8]) -> bf16[8,8] {
  %x = bf16[8,8]{1,0} parameter(0)
  %fusion.7 = bf16[8,8]{1,0} fusion(%x), calls=%fused.1, metadata={op_name="jit(f)/a/dot"}, \
backend_config={"window_config":{"estimated_cycles":"300"}}
  %fusion.8 = bf16[1,8,8,8]{3,2,1,0} fusion(%x), calls=%fused.2, backend_config={\
"window_config":{"estimated_cycles":"500"}}
  %mine.12 = bf16[8,8]{1,0} custom-call(%x), custom_call_target="tpu_custom_call"
  %all-gather-start.1 = bf16[8,8]{1,0} all-gather-start(%x), replica_groups={{0,1}}
  %loop.1 = (s32[], bf16[8,8]{1,0}) while(%x), condition=%condition.1, body=%body.1
  %bitcast.3 = bf16[64]{0} bitcast(%x)
  ROOT %add.3 = bf16[8,8]{1,0} add(%x, %x), backend_config={"estimated_cycles":"40"}
}
"""

SCHEDULE = """= control target key start
LB: loop body
   0x0   :  { %1 = smov 0 }
   0x1 LB: > { %2 = sphi %1 }
   0x2   : > { %9 = sbr.rel (%p5) target = $region9 }
   0x3   : > { %p3 = scmp.ge.s32.totalorder %s4, 10 /* loop exit test */ }
   0x4   : > { %5 = sbr.rel (!%p3) target = $region1 }
   0x5   :  { %6 = vsyncpa [#allocation3], 1 }
"""


def test_instructions_by_kind() -> None:
    found = {each.name: each for each in instructions(PROGRAM)}
    assert set(found) == {
        *("fusion.7", "fusion.8", "mine.12", "all-gather-start.1", "add.3"),
        *("mine.13", "inside.1"),
    }
    kinds = [found[name].kind for name in ("fusion.7", "fusion.8", "mine.12", "add.3")]
    assert kinds == [Kind.DOT, Kind.CONV, Kind.KERNEL, Kind.OTHER]
    assert [found[name].cycles for name in ("fusion.7", "mine.12")] == [300, None]
    assert found["fusion.7"].scope == "jit(f)/a/dot"
    assert found["mine.12"].base == "mine"
    assert found["all-gather-start.1"].collective == "all-gather"


def test_counts_a_loop_body_once_per_iteration() -> None:
    found = {each.name: each for each in instructions(PROGRAM)}
    assert [found[name].times for name in ("inside.1", "mine.13", "mine.12")] == [4, 4, 1]
    assert found["inside.1"].cycles == 7
    unknown = PROGRAM.replace("direction=LT", "direction=NE")
    assert {each.times for each in instructions(unknown)} == {1}


def test_a_schedule_counts_every_iteration_of_its_loop() -> None:
    assert scheduled_cycles(SCHEDULE) == 6 + 9 * 4


def test_finds_schedules_by_kernel_name(tmp_path: Path) -> None:
    for name in ("17-mine_8x8.3-01", "18-mine_8x8-01", "19-other-01"):
        (tmp_path / f"{name}-final_bundles.txt").write_text(SCHEDULE)
    (tmp_path / "20-mine_8x8-00-schedule-analysis_final_bundles.txt").write_text("no schedule")
    assert kernel_cycles(tmp_path, {"mine_8x8"}) == {"mine_8x8": 42}


def test_finds_the_cost_of_kernels_inside_shard_map() -> None:
    x, q = jnp.zeros((1, 16, 16, 128), jnp.bfloat16), jnp.zeros((1, 256, 128), jnp.bfloat16)
    weight = jnp.zeros((3, 3, 128, 128), jnp.bfloat16)
    spec = jax.sharding.PartitionSpec()

    def both(x: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        convolved = convolution.convolve(x, weight, jnp.zeros(128), None)
        return convolved, attention.attend(q, q, q, 2)

    mesh = make_mesh(jax.devices()[:1])
    inside = jax.shard_map(both, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False)
    work = kernel_work(jax.jit(inside).trace(x, q).jaxpr)
    assert work["conv_16x16x128x128"].flops == 2 * 9 * 256 * 128 * 128
    assert work["attention_256x256x2"].flops == 4 * 256 * 256 * 2 * 128  # 64 padded to 128
    assert not any(each.int8 for each in work.values())


def test_recognises_int8_kernels_by_their_operands() -> None:
    linear = Int8Linear(
        int8=jnp.zeros((128, 256), jnp.int8), gain=jnp.ones(128), step=jnp.ones(256), bias=None
    )
    x = jnp.zeros((1, 256, 128), jnp.bfloat16)
    traced = jax.jit(lambda x: int8_linear.project(x, [linear])).trace(x)
    [work] = kernel_work(traced.jaxpr).values()
    assert work.int8
    assert work.flops == 2 * 256 * 128 * 256


def test_roofline_is_the_maximum_of_computing_and_moving() -> None:
    chip = CHIPS["v5e"]
    assert roofline(chip, 197e12, 0) == pytest.approx(1.0)
    assert roofline(chip, 197e9, 819e9) == pytest.approx(1.0)
    assert roofline(chip, 197e12, 0, int8=True) == pytest.approx(0.5)
    assert chip_of("TPU v5 lite") is chip
    assert chip_of("cpu") is None
