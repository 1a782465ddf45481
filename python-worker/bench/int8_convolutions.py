"""Measures how much images change with 8-bit convolutions.

    TRIAL=int8_convolutions npm run bench:drift

A trial, which the worker has no option for: bench/tpu/README.md has its results. Each 3×3
convolution rounds its input and its weights to 8 bits and multiplies the integers, in float32 on
the device at hand:

    y = conv(round(x · gain) + zero, int8) · step + bias

The inputs' ranges come from the model's calibration prompts; the images compared have other ones.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bench import drift
from bench.drift import DEMO, Variant
from demo.evaluation.held_out import held_out_captions
from easel_worker.sdxl.model.int8 import LARGEST
from easel_worker.sdxl.model.kernel_layer import KernelLayer
from easel_worker.sdxl.model.layers import SAME_3X3, Conv, Padding
from easel_worker.sdxl.model.params import STATIC, layer
from easel_worker.sdxl.model.resnet import Resnet, Upsample
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization.calibration import Largest
from easel_worker.sdxl.quantization.linears import SMOOTHING
from easel_worker.sdxl.serving.options import Options

PROMPTS = DEMO / "calibration_prompts.txt"
SILU_LEAST = 0.27846455
"""silu is never below minus this, so a range of its own below zero leaves more for the rest."""

_SMALLEST = 1e-5
"""Lower bound of a channel's largest value, relative to the layer's largest input."""

Change = Callable[[Conv], Any]


@dataclass(frozen=True)
class Rounding:
    """A way to choose scales.

    Attributes:
        name: in the table.
        gains: whether each input channel has a gain (SmoothQuant); if not, all share one.
        shifted: whether zero moves, so that the whole range of 8 bits is used.
        resizing: whether convolutions of up- and downsampling are rounded too.
        top: whether those of full resolution are.
    """

    name: str
    gains: bool = True
    shifted: bool = False
    resizing: bool = False
    top: bool = True


@layer
class RoundedConv(KernelLayer):
    """x [B, H, W, in] → [B, H', W', out], in the dtype of x.

    int8 [3, 3, in, out], gain [in] and zero [] of the input, step and bias [out].
    """

    int8: Array
    gain: Array
    zero: Array
    step: Array
    bias: Array
    stride: int = field(default=1, metadata=STATIC)
    padding: Padding = field(default=SAME_3X3, metadata=STATIC)

    def __call__(self, x: Array) -> Array:
        rounded = jnp.round(x.astype(jnp.float32) * self.gain + self.zero)
        sums = lax.conv_general_dilated(
            jnp.clip(rounded, -LARGEST, LARGEST) - self.zero,
            self.int8.astype(jnp.float32),
            window_strides=(self.stride, self.stride),
            padding=self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )
        return (sums * self.step + self.bias).astype(x.dtype)


@layer
class WatchedConv(Conv):
    """A convolution that reports the largest absolute value of each channel of its input."""

    place: int = field(kw_only=True, metadata=STATIC)
    report: Callable[[int, Array], None] = field(kw_only=True, metadata=STATIC)

    def __call__(self, x: Array) -> Array:
        jax.debug.callback(partial(self.report, self.place), jnp.max(jnp.abs(x), axis=(0, 1, 2)))
        return super().__call__(x)


class Watching:
    """An `OtherUNet` whose convolutions report their inputs."""

    name = "watched"

    def __init__(self) -> None:
        self._largest: dict[int, Largest] = {}

    def of(self, unet: UNet) -> UNet:
        """See `OtherUNet.of`."""
        places = itertools.count()

        def watched(conv: Conv) -> WatchedConv:
            return WatchedConv(
                *(conv.weight, conv.bias, conv.stride, conv.padding),
                place=next(places),
                report=self._remember,
            )

        return replaced(unet, watched)

    def largest(self) -> list[Largest]:
        """The largest inputs so far, in the order of `replaced`."""
        jax.effects_barrier()  # type: ignore[no-untyped-call]
        return [self._largest[place] for place in sorted(self._largest)]

    def _remember(self, place: int, sizes: Array) -> None:
        now = np.asarray(sizes, np.float32)
        self._largest[place] = np.maximum(self._largest.get(place, now), now)


@dataclass(frozen=True)
class Rounded:
    """An `OtherUNet` with 8-bit convolutions. Its linear layers stay as they are."""

    rounding: Rounding
    largest: list[Largest]

    @property
    def name(self) -> str:
        """See `OtherUNet.name`."""
        return self.rounding.name

    def of(self, unet: UNet) -> UNet:
        """See `OtherUNet.of`."""
        abstract = isinstance(unet.conv_in.weight, jax.ShapeDtypeStruct)
        return jax.eval_shape(self._rounded, unet) if abstract else self._rounded(unet)

    def _rounded(self, unet: UNet) -> UNet:
        sizes = iter(self.largest)

        def change(conv: Conv) -> RoundedConv:
            return quantise(conv, jnp.asarray(next(sizes)), self.rounding)

        def resizing(conv: Conv) -> Conv | RoundedConv:
            largest = jnp.asarray(next(sizes))
            if not self.rounding.resizing:
                return conv
            return quantise(conv, largest, self.rounding, signed=True)

        made = replaced(unet, change, resizing)
        if self.rounding.top:
            return made
        first_down, *down = made.down
        first_up, *up = made.up
        return replace(
            made,
            down=(replace(first_down, resnets=unet.down[0].resnets), *down),
            up=(replace(first_up, resnets=unet.up[0].resnets), *up),
        )


def replaced(unet: UNet, change: Change, resizing: Change | None = None) -> UNet:
    """Replace the convolutions of residual blocks, and those that resize, but not first and last.

    Args:
        unet: of arrays, or abstract.
        change: makes the layer in a convolution's place.
        resizing: the same for up- and downsampling; None for `change`.
    """
    other = resizing or change

    def of(node: Any) -> Any:
        if isinstance(node, Resnet):
            return replace(node, conv1=change(node.conv1), conv2=change(node.conv2))
        if isinstance(node, Upsample):
            return replace(node, conv=other(node.conv))
        return other(node) if isinstance(node, Conv) else node

    def is_leaf(node: object) -> bool:
        return isinstance(node, Resnet | Upsample | Conv)

    down, mid, up = jax.tree.map(of, (unet.down, unet.mid, unet.up), is_leaf=is_leaf)
    return replace(unet, down=down, mid=mid, up=up)


def quantise(
    conv: Conv, largest: Array, rounding: Rounding, *, signed: bool = False
) -> RoundedConv:
    """Quantise a convolution.

    Args:
        conv: of arrays.
        largest: the largest absolute value of each channel of its input, [in].
        rounding: how.
        signed: whether the input may be as far below zero as above: it is no silu's.
    """
    weight = conv.weight.astype(jnp.float32)
    inputs = jnp.maximum(largest, jnp.maximum(jnp.max(largest) * _SMALLEST, _SMALLEST))
    taken = jnp.ones_like(inputs)
    if rounding.gains:
        rows = jnp.maximum(jnp.max(jnp.abs(weight), axis=(0, 1, 3)), _SMALLEST)
        taken = inputs**SMOOTHING / rows ** (1.0 - SMOOTHING)
    smoothed = weight * taken[:, None]
    weight_step = jnp.maximum(jnp.max(jnp.abs(smoothed), axis=(0, 1, 2)), _SMALLEST**2) / LARGEST
    most = jnp.max(inputs / taken)
    if rounding.shifted and not signed:
        below = jnp.max(jnp.minimum(inputs, SILU_LEAST) / taken)
        input_step = (most + below) / (2 * LARGEST)
        zero = jnp.round(below / input_step - LARGEST)
    else:
        input_step, zero = most / LARGEST, jnp.float32(0.0)
    return RoundedConv(
        int8=jnp.round(smoothed / weight_step).astype(jnp.int8),
        gain=1.0 / (taken * input_step),
        zero=zero,
        step=input_step * weight_step,
        bias=conv.bias,
        stride=conv.stride,
        padding=conv.padding,
    )


ROUNDINGS = (
    Rounding("per tensor", gains=False),
    Rounding("gains"),
    Rounding("gains, zero moved", shifted=True),
    Rounding("gains, zero moved, resizing too", shifted=True, resizing=True),
    Rounding("gains, not at full resolution", top=False),
    Rounding("gains, zero moved, not at full resolution", shifted=True, top=False),
)


def variants(largest: list[Largest]) -> list[Variant]:
    """Return all variants; the first is the unchanged one."""
    plain = Variant("plain")

    def options(**changes: Any) -> Options:
        return replace(plain.options, **changes)

    int8 = options(quantization="int8")
    return [
        plain,
        Variant("bfloat16", options(dtype="bfloat16")),
        Variant("int8", int8),
        *(
            Variant(f"int8, convolutions: {each.name}", int8, other=Rounded(each, largest))
            for each in ROUNDINGS
        ),
    ]


def main() -> None:
    """Print the calibration's prompts and the captions, or the table."""
    chosen = drift.arguments("bench.int8_convolutions", __doc__)
    prompts = PROMPTS.read_text(encoding="utf-8").splitlines()
    captions = held_out_captions(chosen.count)
    if chosen.captions:
        print(json.dumps([*prompts, *(caption.text for caption in captions)]))
        return
    texts = drift.read_tokens(chosen.tokens)
    watching = Watching()
    drift.make(Variant("calibration", other=watching), texts[: len(prompts)])
    drift.print_table(variants(watching.largest()), texts[len(prompts) :], captions)


if __name__ == "__main__":
    main()
