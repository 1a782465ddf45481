"""Layers that can be computed in more than one way, as `KernelOptions` say."""

from dataclasses import dataclass, field, replace

import jax

from easel_worker.sdxl.model.kernel_options import PLAIN, KernelOptions
from easel_worker.sdxl.model.params import STATIC, Tree


@dataclass(frozen=True)
class KernelLayer:
    """Base of the layers that kernel options apply to."""

    kernel_options: KernelOptions = field(default=PLAIN, kw_only=True, metadata=STATIC)


def bind(tree: Tree, kernel_options: KernelOptions) -> Tree:
    """The same layers with these kernel options."""

    def bound(node: object) -> object:
        return (
            replace(node, kernel_options=kernel_options) if isinstance(node, KernelLayer) else node
        )

    layers: Tree = jax.tree.map(bound, tree, is_leaf=lambda node: isinstance(node, KernelLayer))
    return layers
