"""What a quantised UNet was made from, to quantise changed weights exactly as a load does.

Layers that share an input share a gain, which depends on the weights of all of them. So a change of
one layer quantises its whole group again, by the program that quantised it when it was loaded.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.kernel_options import PLAIN, KernelOptions
from easel_worker.sdxl.model.params import Param, declared, nbytes
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization import scales, selection
from easel_worker.sdxl.quantization.calibration import Largest
from easel_worker.sdxl.quantization.scales import Plain, Steps

Put = Callable[[NDArray[Any], Param], Array]
"""Places a parameter of the host on the devices."""


class Source:
    """The weights from before they were rounded, on the devices or in the host's memory."""

    def __init__(
        self,
        unet: UNet,
        declarations: UNet,
        quantised: Sequence[Sequence[Steps]],
        largest: Sequence[Largest],
        kernel_options: KernelOptions = PLAIN,
    ) -> None:
        """Args:

        unet: with plain layers. Its other arrays are those of the quantised UNet.
        declarations: the UNet's.
        quantised: what `selection.quantised_weights` made of it.
        largest: the calibration.
        kernel_options: of the quantised UNet.
        """
        self._unet = unet
        self._declarations = declarations
        self._quantised = quantised
        self._largest = largest
        self._kernel_options = kernel_options

    @property
    def unet(self) -> UNet:
        """The UNet with plain layers. On the host, the weights that were quantised are NumPy's."""
        return self._unet

    @property
    def nbytes(self) -> int:
        """Bytes of the weights that were quantised."""
        groups = selection.shared_inputs(self._unet)
        return nbytes([[layer.weight for layer in group] for group in groups])

    def move_to_host(self) -> None:
        """Keep the weights in the host's memory from now on, which frees the devices'."""

        def moved(group: list[Plain]) -> list[Any]:
            return [replace(each, weight=np.asarray(each.weight)) for each in group]  # type: ignore[arg-type]

        self._unet = selection.replaced(self._unet, moved)

    def release(self) -> None:
        """Keep nothing: no copy can be begun any more."""

        def shapes(group: list[Plain]) -> list[Any]:
            return [jax.eval_shape(lambda layer: layer, each) for each in group]

        self._unet = selection.replaced(self._unet, shapes)

    def begin(self, names: Collection[str], put: Put) -> "Requantised":
        """Begin a copy of the quantised UNet.

        Args:
            names: of all parameters that will change, as checkpoints have them.
            put: places weights that are in the host's memory.
        """
        return Requantised(self, self._declarations, names, put)

    def quantise(self, group: int, weights: Sequence[Array]) -> list[Steps]:
        """A group of `selection.shared_inputs`, from all of its weights."""
        made: list[Steps] = scales.steps_of(list(weights), self._largest[group])
        return made

    def with_weights(self, unet: UNet, made: dict[int, list[Steps]]) -> UNet:
        """The quantised UNet with other groups, and with all other parameters of `unet`."""
        groups = [made.get(i, own) for i, own in enumerate(self._quantised)]
        return bind(selection.with_weights(unet, groups), self._kernel_options)


class Requantised:
    """A copy of a quantised UNet, which shares what does not change. Made by `Source.begin`.

    Holds a changed weight only until its group is complete, and waits for the devices at each
    group, so only few weights are there in both forms. Changes should come in order of the names.
    """

    def __init__(
        self, source: Source, declarations: UNet, names: Collection[str], put: Put
    ) -> None:
        params, groups = declared(declarations), selection.shared_inputs(declarations)
        members: Any = [[layer.weight for layer in group] for group in groups]
        self._source = source
        self._leaves, self._tree = jax.tree.flatten(source.unet)
        self._places = {param.name: place for place, param in enumerate(params)}
        self._members: list[list[Param]] = members
        self._group = {param.name: i for i, group in enumerate(members) for param in group}
        self._missing = [{param.name for param in group} & set(names) for group in members]
        self._changed: dict[str, Array] = {}
        self._made: dict[int, list[Steps]] = {}
        self._put = put

    def change(self, name: str, values: Array) -> None:
        """Take the new values of a parameter, in our layout and the dtype before rounding."""
        group = self._group.get(name)
        if group is None:
            self._leaves[self._places[name]] = values
            return
        self._changed[name] = values
        self._missing[group].remove(name)
        if not self._missing[group]:
            weights = [self._weight(each) for each in self._members[group]]
            made = self._source.quantise(group, weights)
            self._made[group] = jax.block_until_ready(made)  # type: ignore[no-untyped-call]

    def finish(self) -> UNet:
        """The copy, once all parameters have changed."""
        unet: UNet = jax.tree.unflatten(self._tree, self._leaves)
        return self._source.with_weights(unet, self._made)

    def _weight(self, param: Param) -> Array:
        if (changed := self._changed.pop(param.name, None)) is not None:
            return changed
        own: Array | NDArray[Any] = self._leaves[self._places[param.name]]
        return self._put(own, param) if isinstance(own, np.ndarray) else own
