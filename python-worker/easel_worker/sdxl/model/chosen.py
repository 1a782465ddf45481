"""Layers of which there is a choice how they compute: `methods` lists the choices."""

from dataclasses import dataclass, field, replace

import jax

from easel_worker.sdxl.model.methods import PLAIN, Methods
from easel_worker.sdxl.model.params import STATIC, Tree


@dataclass(frozen=True)
class Chosen:
    """What layers have of which there is a choice."""

    methods: Methods = field(default=PLAIN, kw_only=True, metadata=STATIC)


def bind(tree: Tree, methods: Methods) -> Tree:
    """The same layers, all of which compute by these methods."""

    def bound(node: object) -> object:
        return replace(node, methods=methods) if isinstance(node, Chosen) else node

    layers: Tree = jax.tree.map(bound, tree, is_leaf=lambda node: isinstance(node, Chosen))
    return layers
