"""Merges LoRAs into weights: the model's own plus the sum of all changes.

Each change is computed from the model's own weights, in float32, and the changes are summed in the
order given before they are added, so the same LoRAs always give the same numbers. The result is
converted to the model's dtype once, at the end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.lora.algebra import Floats, Parts, low_rank
from easel_worker.sdxl.lora.file import Layer, Lora, LoraError
from easel_worker.sdxl.lora.targets import ParamKey
from easel_worker.sdxl.model.params import Layout, Param


class Weighted(NamedTuple):
    """A LoRA, and how much of it to apply."""

    lora: Lora
    weight: float


class Merged(NamedTuple):
    """A parameter with all changes, in our layout, float32."""

    key: ParamKey
    param: Param
    values: Floats


class Factors(NamedTuple):
    """A parameter's change as a product: `down` [rank, others] and `up` [out, rank], float32.

    `others` are the parameter's other elements in our layout, whose last dimension is `out`.
    """

    key: ParamKey
    param: Param
    down: Floats
    up: Floats


Base = Callable[[ParamKey], NDArray[np.generic]]
"""Gives the model's own parameter, in our layout."""


def merge(
    loras: Sequence[Weighted], component: str, base: Base, *, most_rank: int = 0
) -> Iterator[Merged | Factors]:
    """The parameters of a component that LoRAs change, one by one, in order of their names.

    Args:
        loras: the LoRAs, in the order in which their changes are summed.
        component: of `targets.COMPONENTS`.
        base: gives the model's own parameters.
        most_rank: changes that are products of at most this rank together stay products.

    Raises:
        LoraError: a file is unreadable, or the result is not finite.
    """
    with ExitStack() as stack:
        reads = [stack.enter_context(each.lora.open()) for each in loras]
        for key, changes in sorted(_changes(loras, component).items()):
            param = changes[0].param
            if all(each.low_rank for each in changes) and _rank(changes) <= most_rank:
                yield _factors(key, changes, loras, reads)
                continue
            own = base(key).astype(np.float32)
            stored = param.layout.restore(own, param.stored)
            total = np.zeros(stored.shape, np.float32)
            for each in changes:
                parts = reads[each.lora](each.layer)
                weight = loras[each.lora].weight
                if each.bias:
                    total += each.layer.bias_change(parts, weight)
                else:
                    total += each.layer.weight_change(parts, stored, weight)
            if not np.isfinite(total).all():
                raise LoraError(f"the change of {key.component}.{key.name} is not finite")
            yield Merged(key, param, own + param.layout.arrange(total))


def changed(loras: Sequence[Weighted], component: str) -> frozenset[ParamKey]:
    """Which parameters of a component `merge` gives."""
    return frozenset(_changes(loras, component))


class _Change(NamedTuple):
    """A LoRA's change of one parameter: the LoRA's place, and its layer."""

    lora: int
    layer: Layer
    bias: bool
    param: Param

    @property
    def low_rank(self) -> bool:
        """Whether it is a product, of a weight whose last dimension in our layout is `out`."""
        return self.layer.low_rank and not self.bias and self.param.layout is not Layout.SAME


def _rank(changes: Sequence["_Change"]) -> int:
    return sum(each.layer.form.rank for each in changes)


def _factors(
    key: ParamKey,
    changes: Sequence["_Change"],
    loras: Sequence[Weighted],
    reads: Sequence[Callable[[Layer], Parts]],
) -> Factors:
    """The factors of all changes side by side: their product is the sum of the products."""
    downs, ups = [], []
    for each in changes:
        parts = reads[each.lora](each.layer)
        up, down = low_rank(parts)
        size = each.param.stored[2:]
        inputs = down.reshape(len(down), -1, *size)
        # A convolution's other elements are (height, width, in) in our layout.
        downs.append(np.moveaxis(inputs, 1, -1).reshape(len(down), -1))
        ups.append(up * np.float32(each.layer.scale(parts) * loras[each.lora].weight))
    return Factors(key, changes[0].param, np.concatenate(downs), np.concatenate(ups, axis=1))


def _changes(loras: Sequence[Weighted], component: str) -> Mapping[ParamKey, list[_Change]]:
    """The changes of each parameter, in the order of the LoRAs."""
    found: dict[ParamKey, list[_Change]] = {}
    for place, (lora, _) in enumerate(loras):
        for layer in lora.layers:
            target = layer.target
            if target.component != component:
                continue
            if layer.changes_weight:
                key = ParamKey(component, target.weight.name)
                found.setdefault(key, []).append(_Change(place, layer, False, target.weight))
            if layer.changes_bias and target.bias is not None:
                key = ParamKey(component, target.bias.name)
                found.setdefault(key, []).append(_Change(place, layer, True, target.bias))
    return found
