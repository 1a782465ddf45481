"""A 3×3 filter's products, on few tiles of the TPU's matrix unit.

A tile has 128 input and 128 output channels. Where channels fill half of their last tile, as 320
do, two of the filter's products share it:

- of inputs, the last 64 channels of a row of pixels and of the row below it;
- of outputs, the last 64 of the filter's first and second column, and those of the first and second
  row of its third column.

Few outputs, such as an image's 3, share one tile for the filter's three columns.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike

from easel_worker.sdxl.kernels import rows as by_rows
from easel_worker.sdxl.kernels.chip import LANES

FILTER = 3

_HALF = LANES // 2
_ALL = slice(None)


class _Term(NamedTuple):
    """Pixels [rows · W, K], and the filter's row and input channels for each part of K."""

    pixels: Array
    places: tuple[tuple[int, slice], ...]


def convolved(x: Array, weight: Array) -> Array:
    """The sums of a filter for a block of rows, with zeros left and right of the image.

    Args:
        x: the block with a row above and one below, [rows + 2, W, in].
        weight: [3, 3, in, out], an array or a reference, in the dtype of x.

    Returns:
        [rows · W, out], float32; int32 of int8.
    """
    width, outputs = x.shape[1], weight.shape[-1]
    terms = _terms(x)
    if FILTER * outputs <= LANES:
        return _few_outputs(terms, weight, width)
    whole = _whole(outputs)
    parts = []
    if whole > 0:
        first, second, third = (
            _column(terms, weight, column, slice(whole)) for column in range(FILTER)
        )
        parts.append(_met(first, second, third, width))
    if whole < outputs:
        lanes = slice(whole, outputs)
        both = _sum(terms, [_columns(each, weight, (0, 1), lanes) for each in terms])
        third = _third_column(x, terms, weight, lanes)
        parts.append(_met(both[:, :_HALF], both[:, _HALF:], third, width))
    return jnp.concatenate(parts, axis=-1)


def _whole(channels: int) -> int:
    """The channels in whole tiles, if half a tile is left; else all."""
    left = channels % LANES
    return channels - left if left == _HALF else channels


def _terms(x: Array) -> list[_Term]:
    """What each column of the filter multiplies. The first two have one row of pixels each."""
    rows, channels = x.shape[0] - (FILTER - 1), x.shape[-1]
    whole = _whole(channels)
    most = slice(whole)
    terms = [_Term(_pixels(x[i : i + rows, :, most]), ((i, most),)) for i in range(2)]
    if whole < channels:
        last = slice(whole, channels)
        pair = jnp.concatenate([x[i : i + rows, :, last] for i in range(2)], axis=-1)
        terms.append(_Term(_pixels(pair), ((0, last), (1, last))))
    return [*terms, _Term(_pixels(x[2 : 2 + rows]), ((2, _ALL),))]


def _pixels(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _weights(term: _Term, weight: Array, column: int, lanes: slice) -> Array:
    """The filter's weights for a term, [K, lanes]."""
    parts = [weight[row, column, channels, lanes] for row, channels in term.places]
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


def _columns(term: _Term, weight: Array, columns: tuple[int, ...], lanes: slice) -> Array:
    """The weights of several columns, side by side: [K, columns · lanes]."""
    return jnp.concatenate([_weights(term, weight, each, lanes) for each in columns], axis=-1)


def _sum(terms: list[_Term], weights: list[Array]) -> Array:
    shape = (terms[0].pixels.shape[0], weights[0].shape[-1])
    total = jnp.zeros(shape, _sums_of(terms[0].pixels))
    for term, each in zip(terms, weights, strict=True):
        total += _product(term.pixels, each)
    return total


def _product(pixels: Array, weights: Array) -> Array:
    return jnp.dot(pixels, weights, preferred_element_type=_sums_of(pixels))


def _sums_of(x: Array) -> DTypeLike:
    sums: DTypeLike = jnp.int32 if x.dtype == jnp.int8 else jnp.float32
    return sums


def _column(terms: list[_Term], weight: Array, column: int, lanes: slice) -> Array:
    """What one column of the filter adds to its centre pixel: [rows · W, lanes]."""
    return _sum(terms, [_weights(each, weight, column, lanes) for each in terms])


def _met(first: Array, second: Array, third: Array, width: int) -> Array:
    """The sum of the three columns, whose centre pixels are neighbours."""
    return by_rows.from_left(first, width) + second + by_rows.from_right(third, width)


def _third_column(x: Array, terms: list[_Term], weight: Array, lanes: slice) -> Array:
    """The last 64 outputs of the third column, where the first two rows share a tile.

    A pixel's two products belong to different pixels: to itself and to the one above.
    """
    above, here, *rest = terms
    pixels, width = above.pixels.shape[0], x.shape[1]
    rows = [_weights(each, weight, 2, lanes) for each in (above, here)]
    most = above.places[0][1]
    both = _product(_pixels(x[:-1, :, most]), jnp.concatenate(rows, axis=-1))
    sums = both[:pixels, :_HALF] + both[width:, _HALF:]
    for each in rest:
        sums += _product(each.pixels, _weights(each, weight, 2, lanes))
    return sums


def _few_outputs(terms: list[_Term], weight: Array, width: int) -> Array:
    """`convolved` with the three columns side by side in the lanes of one tile."""
    outputs = weight.shape[-1]
    columns = [_columns(each, weight, (0, 1, 2), _ALL) for each in terms]
    filled = [jnp.pad(each, ((0, 0), (0, LANES - FILTER * outputs))) for each in columns]
    first = _sum(terms, filled)
    second, third = (pltpu.roll(first, LANES - i * outputs, 1) for i in (1, 2))
    return _met(first, second, third, width)[:, :outputs]
