"""Counts the convolution kernel with 8-bit products on a v5e, beside the one in bfloat16.

    PYTHONPATH=<folder of libtpu> python -m bench.int8_convolution_kernel      (in python-worker/)

A trial: bench/tpu/README.md has its results. The kernel is that of `kernels.convolution`, which
rounds after the silu and multiplies int8. Nothing is measured.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from bench.int8_convolutions import RoundedConv
from easel_worker.compile import topology
from easel_worker.compile.chips import chip_of
from easel_worker.compile.hlo import Kind
from easel_worker.compile.program_cost import cost_of
from easel_worker.compile.yardstick import OperationCount
from easel_worker.sdxl.kernels import chip, convolution, integers, taps
from easel_worker.sdxl.kernels import rows as by_rows
from easel_worker.sdxl.serving.compilation import trace
from easel_worker.sdxl.serving.sharding import make_mesh, replicated

TOPOLOGY = "v5e:1x1"
ROWS = 2
"""Of a guided image."""


class Size(NamedTuple):
    """A convolution of the UNet's residual blocks, for an image of 1024×1024.

    Attributes:
        inputs: channels in.
        outputs: channels out.
        side: pixels a side.
        times: how many a step has.
    """

    inputs: int
    outputs: int
    side: int
    times: int


SIZES = (
    Size(1280, 1280, 32, 10),
    Size(1920, 1280, 32, 1),
    Size(2560, 1280, 32, 2),
    Size(640, 1280, 32, 1),
    Size(640, 640, 64, 6),
    Size(320, 640, 64, 1),
    Size(960, 640, 64, 1),
    Size(1280, 640, 64, 1),
    Size(1920, 640, 64, 1),
    Size(320, 320, 128, 7),
    Size(640, 320, 128, 2),
    Size(960, 320, 128, 1),
)


def convolve(
    x: Array,
    conv: RoundedConv,
    affine: Sequence[Array],
    residual: Array,
    *,
    interpret: bool = False,
) -> list[Array]:
    """residual + conv(silu(x · scale + shift)), and its moments.

    Args:
        x: [B, H, W, in], bfloat16; W is a multiple of 32.
        conv: a 3×3 convolution of stride 1.
        affine: scale and shift, float32 [B, in] each.
        residual: [B, H, W, out].
        interpret: interpret the kernel on a CPU.

    Returns:
        [B, H, W, out] and `rows.moments` of its blocks, [B, blocks, 2, out].
    """
    batch, height, width, inputs = x.shape
    outputs = conv.int8.shape[-1]
    rows = by_rows.block_rows(height, width, outputs)
    block = pl.BlockSpec((1, rows, width, outputs), lambda b, i: (b, i, 0, 0))
    scales = [each[:, None, :] for each in affine]
    zero = jnp.broadcast_to(conv.zero, inputs)
    whole = [*map(chip.vector, (conv.gain, zero, conv.step)), _biases(conv, width)]
    call = pl.pallas_call(
        _kernel,
        grid=(batch, height // rows),
        in_specs=[
            *by_rows.image_specs(x.shape, rows),
            pl.BlockSpec(conv.int8.shape, lambda b, i: (0, 0, 0, 0)),
            *(pl.BlockSpec((1, 1, inputs), lambda b, i: (b, 0, 0)) for _ in scales),
            *(pl.BlockSpec(each.shape, lambda b, i: (0, 0)) for each in whole),
            block,
        ],
        out_specs=[block, by_rows.moments_spec(outputs)],
        out_shape=[
            chip.like(x, (batch, height, width, outputs)),
            by_rows.moments_shape(batch, height // rows, outputs),
        ],
        compiler_params=by_rows.compiler_params(),
        interpret=interpret,
        name=f"int8_conv_{height}x{width}x{inputs}x{outputs}",
    )
    convolved: list[Array] = call(x, x, x, conv.int8, *scales, *whole, residual)
    return convolved


def _biases(conv: RoundedConv, width: int) -> Array:
    """What to add to each column of pixels where zero is not 0, [W, out].

    The kernel's sums have the integer of zero above and below the image, but 0 beside it.
    """
    columns = jnp.sum(conv.int8.astype(jnp.int32), axis=(0, 2))
    place = jnp.arange(width)[:, None]
    beside = jnp.where(place == 0, columns[0], 0) + jnp.where(place == width - 1, columns[2], 0)
    biases: Array = conv.bias + conv.zero * conv.step * (beside - jnp.sum(columns, axis=0))
    return biases


def _kernel(above: Array, here: Array, below: Array, weight: Array, *rest: Any) -> None:
    scale, shift, gain, zero, step, bias, residual, out, moments = rest
    _, rows, width, outputs = out.shape
    block, blocks = pl.program_id(1), pl.num_programs(1)

    def prepared(ref: Array) -> Array:
        y = ref[0].astype(jnp.float32) * scale[0] + shift[0]
        silu: Array = y * jax.nn.sigmoid(y)
        return silu

    images = (
        jnp.where(block == 0, 0.0, prepared(above)),
        prepared(here),
        jnp.where(block == blocks - 1, 0.0, prepared(below)),
    )
    x = jnp.concatenate([integers.to_int8(each * gain[...] + zero[...]) for each in images])
    y = taps.convolved(x, weight).astype(jnp.float32) * step[...]
    y = y.reshape(rows, width, outputs) + bias[...] + residual[0].astype(jnp.float32)
    stored = y.astype(out.dtype)
    out[0] = stored
    moments[0, 0] = by_rows.moments(stored.reshape(rows * width, outputs))


def _in_bfloat16(
    x: Array, weight: Array, bias: Array, affine: tuple[Array, Array], residual: Array
) -> list[Array]:
    return convolution.convolve(x, weight, bias, affine, residual=residual, measure=True)


def _arguments(size: Size) -> tuple[Any, ...]:
    """Abstract images, affine and residual: what both kernels take."""
    array: Any = jax.ShapeDtypeStruct
    image = partial(array, dtype=jnp.bfloat16)
    affine = [array((ROWS, size.inputs), jnp.float32)] * 2
    pixels = (ROWS, size.side, size.side)
    return image((*pixels, size.inputs)), affine, image((*pixels, size.outputs))


def _count(function: Any, arguments: tuple[Any, ...], dump: Path) -> OperationCount:
    devices = topology.devices(TOPOLOGY)
    traced = trace(function, arguments, replicated(make_mesh(devices)))
    cost = cost_of(traced.lower().compile(), chip_of(devices[0].device_kind), dump)
    assert cost.yardstick is not None, "a v5e has a yardstick"
    [kernel] = [each for each in cost.yardstick.operations if each.kind is Kind.KERNEL]
    return kernel


def _row(size: Size, dump: Path) -> str:
    array: Any = jax.ShapeDtypeStruct
    x, affine, residual = _arguments(size)
    shape, vector = (3, 3, size.inputs, size.outputs), array((size.outputs,), jnp.float32)
    conv = RoundedConv(
        int8=array(shape, jnp.int8),
        gain=array((size.inputs,), jnp.float32),
        zero=array((), jnp.float32),
        step=vector,
        bias=vector,
    )
    wide = _count(_in_bfloat16, (x, array(shape, jnp.bfloat16), vector, affine, residual), dump)
    rounded = _count(convolve, (x, conv, affine, residual), dump)
    ms = (wide.seconds, rounded.seconds, rounded.issue, rounded.matrix)
    saved = size.times * (wide.seconds - rounded.seconds)
    name = f"{size.inputs} to {size.outputs} at {size.side}²"
    cells = [name, str(size.times), *(f"{1e3 * each:.3f}" for each in (*ms, saved))]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="bench.int8_convolution_kernel", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--side", type=int, help="only convolutions of images with this side")
    chosen = parser.parse_args()
    header = ("", "a step", "bfloat16 ms", "8 bits ms", "issue", "matrix", "saved a step")
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    with TemporaryDirectory() as folder:
        topology.prepare(TOPOLOGY, Path(folder))
        for size in SIZES:
            if chosen.side in (None, size.side):
                print(_row(size, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
