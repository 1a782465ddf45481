"""What a LoRA's tensors mean: the change of a layer's weights, in the checkpoint's shape.

All numbers are float32 NumPy arrays. `k` stands for a convolution's height and width, which linear
layers lack. A change is for weight 1: the caller scales it.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.lora import keys

Floats = NDArray[np.float32]
Parts = Mapping[str, Floats]
_Shape = tuple[int, ...]
Shapes = Mapping[str, _Shape]

FORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lora": ((keys.DOWN, keys.UP), (keys.DOWN, keys.UP, keys.MID)),
    "loha": (
        (keys.HADA_1A, keys.HADA_1B, keys.HADA_2A, keys.HADA_2B),
        (*(keys.HADA_1A, keys.HADA_1B, keys.HADA_2A, keys.HADA_2B), keys.HADA_T1, keys.HADA_T2),
    ),
    "lokr": tuple(
        (*first, *second)
        for first in ((keys.LOKR_1,), (keys.LOKR_1A, keys.LOKR_1B))
        for second in (
            (keys.LOKR_2,),
            (keys.LOKR_2A, keys.LOKR_2B),
            (keys.LOKR_2A, keys.LOKR_2B, keys.LOKR_T2),
        )
    ),
    "full": ((keys.DIFF,), (keys.NORM,)),
}
"""For each form of a change the sets of parts that it can have, without those in `OPTIONAL`."""

OPTIONAL = {
    "lora": {keys.ALPHA, keys.MAGNITUDE, keys.DORA_SCALE, keys.UP_BIAS, keys.DIFF_BIAS},
    "loha": {keys.ALPHA, keys.DORA_SCALE, keys.DIFF_BIAS},
    "lokr": {keys.ALPHA, keys.DORA_SCALE, keys.DIFF_BIAS},
    "full": {keys.ALPHA, keys.DIFF_BIAS, keys.NORM_BIAS},
}

_TINY = np.float32(np.finfo(np.float32).tiny)


class FormError(ValueError):
    """The parts do not make a change; the text says why."""


class Form(NamedTuple):
    """How a layer is changed.

    Attributes:
        name: of `FORMS`; `bias` for a change of the bias alone.
        rank: how many products are summed; 0 for a change that is stored whole.
        size: the rows, and all other elements of a row, of the changed weight.
    """

    name: str
    rank: int
    size: tuple[int, int] | None


def form_of(shapes: Shapes) -> Form:
    """Work out the form of a change from its parts' shapes.

    Raises:
        FormError: the parts make no change, or their shapes do not fit each other.
    """
    if not shapes.keys() - {keys.DIFF_BIAS, keys.NORM_BIAS}:
        return Form("bias", 0, None)
    for name, choices in FORMS.items():
        main = shapes.keys() - OPTIONAL[name]
        if any(main == set(choice) for choice in choices):
            try:
                rank, size = _MEASURES[name](shapes)
            except (IndexError, ValueError) as error:
                raise FormError(f"its shapes do not fit each other: {_shown(shapes)}") from error
            return Form(name, rank, size)
    raise FormError(f"its parts make no change that is known: {', '.join(sorted(shapes))}")


def change(form: str, parts: Parts, shape: tuple[int, ...], alpha: float | None) -> Floats:
    """The change of a weight of the stored shape.

    Args:
        form: from `form_of`.
        parts: the layer's tensors.
        shape: the weight's shape in the checkpoint.
        alpha: the change is scaled by alpha / rank; None (or 0, as LyCORIS has it) for 1.
    """
    rank = form_of({name: part.shape for name, part in parts.items()}).rank
    scale = np.float32(1.0 if not alpha or not rank else alpha / rank)
    made = _CHANGES[form](parts).reshape(shape)
    return made if scale == 1.0 else made * scale


def decomposed(base: Floats, changed: Floats, parts: Parts) -> Floats:
    """DoRA: `changed` with the magnitudes that the file has, for each output or each input.

    PEFT's magnitudes are for outputs. LyCORIS' have one for each output, or [1, in, …] for inputs.
    A change's weight scales its direction before this, as in PEFT.
    https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/lora/dora.py#L62
    https://github.com/KohakuBlueleaf/LyCORIS/blob/v4.1.3/lycoris/functional/general.py#L105

    Args:
        base: the weight [out, in, *k], for its shape.
        changed: the weight with the change added.
        parts: the layer's tensors.
    """
    outputs, inputs = base.shape[:2]
    axes: tuple[int, ...] = tuple(range(1, base.ndim))
    magnitude = parts.get(keys.MAGNITUDE)
    if magnitude is None:
        magnitude = parts[keys.DORA_SCALE]
        if magnitude.shape[0] == 1 and magnitude.size == inputs and outputs > 1:
            axes = (0, *range(2, base.ndim))
    norm = np.sqrt(np.square(changed).sum(axis=axes, keepdims=True, dtype=np.float32))
    scaled: Floats = changed * (magnitude.reshape(norm.shape) / np.maximum(norm, _TINY))
    return scaled


def magnitude_fits(shapes: Shapes, shape: tuple[int, ...]) -> bool:
    """Whether DoRA's magnitudes, if there are any, fit a weight of the stored shape."""
    if (given := shapes.get(keys.MAGNITUDE)) is not None:
        return math.prod(given) == shape[0]
    if (given := shapes.get(keys.DORA_SCALE)) is not None:
        return len(shape) > 1 and (
            math.prod(given) == shape[0] or (given[:1] == (1,) and math.prod(given) == shape[1])
        )
    return True


def _flat(part: Floats) -> Floats:
    """[a, b, …] → [a, b · …]."""
    return part.reshape(part.shape[0], -1)


def low_rank(parts: Parts) -> tuple[Floats, Floats]:
    """The factors of a change without `mid`: up [out, rank] and down [rank, in · k]."""
    return _flat(parts[keys.UP]), _flat(parts[keys.DOWN])


def _lora(parts: Parts) -> Floats:
    up, down = low_rank(parts)
    if (mid := parts.get(keys.MID)) is None:
        return up @ down
    made: Floats = np.einsum("mn...,im,nj->ij...", mid, up, down, optimize=True)
    return made


def _loha(parts: Parts) -> Floats:
    """https://github.com/KohakuBlueleaf/LyCORIS/blob/v4.1.3/lycoris/functional/loha.py#L12"""

    def half(a: str, b: str, t: str) -> Floats:
        if (core := parts.get(t)) is None:
            return _flat(parts[a]) @ _flat(parts[b])
        return _tucker(core, parts[a], parts[b])

    first = half(keys.HADA_1A, keys.HADA_1B, keys.HADA_T1)
    return first * half(keys.HADA_2A, keys.HADA_2B, keys.HADA_T2)


def _lokr(parts: Parts) -> Floats:
    """https://github.com/KohakuBlueleaf/LyCORIS/blob/v4.1.3/lycoris/functional/lokr.py#L121"""
    first, second = parts.get(keys.LOKR_1), parts.get(keys.LOKR_2)
    if first is None:
        first = parts[keys.LOKR_1A] @ parts[keys.LOKR_1B]
    if second is None:
        a, b = parts[keys.LOKR_2A], parts[keys.LOKR_2B]
        core = parts.get(keys.LOKR_T2)
        second = a @ _flat(b) if core is None else _tucker(core, a, b)
    # The columns of a convolution are (its inputs, k), so its k stays inside the second factor.
    return np.kron(first, _flat(second))


def _full(parts: Parts) -> Floats:
    made = parts.get(keys.DIFF)
    return parts[keys.NORM] if made is None else made


def _tucker(core: Floats, a: Floats, b: Floats) -> Floats:
    """core [r, r, *k], a [r, out], b [r, in] → [out, in, *k]."""
    made: Floats = np.einsum("ij...,ip,jr->pr...", core, a, b, optimize=True)
    return made


_CHANGES = {"lora": _lora, "loha": _loha, "lokr": _lokr, "full": _full}

_Measure = tuple[int, tuple[int, int]]


def _lora_measure(shapes: Shapes) -> _Measure:
    up, down = shapes[keys.UP], shapes[keys.DOWN]
    rank, columns = down[0], math.prod(down[1:])
    inner: _Shape = (rank, rank)
    if (mid := shapes.get(keys.MID)) is not None:
        inner, columns = mid[:2], columns * math.prod(mid[2:])
    _require(math.prod(up[1:]) == inner[0], inner[1] == rank)
    return rank, (up[0], columns)


def _loha_measure(shapes: Shapes) -> _Measure:
    def half(a: str, b: str, t: str) -> _Measure:
        first, second, core = shapes[a], shapes[b], shapes.get(t)
        if core is None:
            _require(math.prod(first[1:]) == second[0])
            return second[0], (first[0], math.prod(second[1:]))
        return second[0], _tucker_size(core, first, second)

    one = half(keys.HADA_1A, keys.HADA_1B, keys.HADA_T1)
    two = half(keys.HADA_2A, keys.HADA_2B, keys.HADA_T2)
    _require(one[1] == two[1])
    return one


def _lokr_measure(shapes: Shapes) -> _Measure:
    rank = 0
    first: _Shape | None = shapes.get(keys.LOKR_1)
    second: _Shape | None = shapes.get(keys.LOKR_2)
    if first is None:
        a, b = shapes[keys.LOKR_1A], shapes[keys.LOKR_1B]
        _require(len(a) == len(b) == 2, a[1] == b[0])
        rank, first = b[0], (a[0], b[1])
    if second is None:
        a, b = shapes[keys.LOKR_2A], shapes[keys.LOKR_2B]
        rank, core = b[0], shapes.get(keys.LOKR_T2)
        if core is None:
            _require(len(a) == 2, a[1] == b[0])
            second = (a[0], math.prod(b[1:]))
        else:
            second = _tucker_size(core, a, b)
    _require(len(first) == 2)
    return rank, (first[0] * second[0], first[1] * math.prod(second[1:]))


def _full_measure(shapes: Shapes) -> _Measure:
    shape = shapes.get(keys.DIFF)
    shape = shapes[keys.NORM] if shape is None else shape
    return 0, (shape[0], math.prod(shape[1:]))


def _tucker_size(core: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int]:
    _require(len(a) == len(b) == 2, core[0] == a[0], core[1] == b[0])
    return a[1], b[1] * math.prod(core[2:])


_MEASURES = {
    "lora": _lora_measure,
    "loha": _loha_measure,
    "lokr": _lokr_measure,
    "full": _full_measure,
}


def _require(*conditions: bool) -> None:
    if not all(conditions):
        raise ValueError


def _shown(shapes: Shapes) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
