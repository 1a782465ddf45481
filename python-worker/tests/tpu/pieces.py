"""Counts full-width pieces of SDXL on a v5e, in a process of its own.

libtpu reads the environment when it is loaded, and jax looks for devices only once. Prints JSON:
each piece's counted milliseconds and the MiB that it needs while it runs.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp

from easel_worker.compile import topology
from easel_worker.compile.chips import chip_of
from easel_worker.compile.hlo import Kind
from easel_worker.compile.program_cost import ProgramCost, cost_of
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.model.attention import Block, KeyValue
from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.kernel_options import FAST
from easel_worker.sdxl.model.resnet import Resnet
from easel_worker.sdxl.quantization import selection
from easel_worker.sdxl.serving.compilation import trace
from easel_worker.sdxl.serving.sharding import make_mesh, replicated

TOPOLOGY = "v5e:1x1"


def array(*shape: int) -> jax.ShapeDtypeStruct:
    """Return an array in the dtype that a TPU computes in."""
    return jax.ShapeDtypeStruct(shape, jnp.bfloat16)


def apply(block: Any, *given: Any) -> jax.Array:
    """Apply a module, whose parameters are arguments too."""
    made: jax.Array = block(*given)
    return made


def transformer_block() -> tuple[Any, tuple[Any, ...]]:
    """Return a block of the UNet's bottom level, for a guided image of 1024×1024."""
    block = weights.abstract(Block.declare("b", 1280, 2048, heads=20), jnp.bfloat16)
    kv = KeyValue(array(2, 77, 20, 64), array(2, 77, 20, 64))
    return apply, (bind(block, FAST), array(2, 1024, 1280), kv)


def int8_block() -> tuple[Any, tuple[Any, ...]]:
    """Return the same block with 8-bit linear layers."""
    _, (block, *given) = transformer_block()
    return apply, (bind(quantised(block), FAST), *given)


def quantised(block: Any) -> Any:
    """Return a block with its layers in 8 bits."""
    sizes = [array(each[0].weight.shape[-2]) for each in selection.shared_inputs(block)]
    return jax.eval_shape(selection.quantise, block, sizes)


def top_block() -> tuple[Any, tuple[Any, ...]]:
    """Return a residual block of the UNet's top level, for a guided image of 1024×1024."""
    declared = Resnet.declare("r", 320, 320, groups=32, eps=1e-5, time_features=1280)
    block = bind(weights.abstract(declared, jnp.bfloat16), FAST)
    return apply, (block, array(2, 128, 128, 320), array(2, 1280))


def int8_residual_block() -> tuple[Any, tuple[Any, ...]]:
    """Return a residual block of the bottom level with 8-bit convolutions."""
    declared = Resnet.declare("r", 1280, 1280, groups=32, eps=1e-5, time_features=1280)
    block = quantised(weights.abstract(declared, jnp.bfloat16))
    return apply, (bind(block, FAST), array(2, 32, 32, 1280), array(2, 1280))


def vae_block() -> tuple[Any, tuple[Any, ...]]:
    """Return a residual block of the VAE's decoder, for an image of 1024×1024."""
    declared = Resnet.declare("r", 512, 512, groups=32, eps=1e-6)
    return apply, (bind(weights.abstract(declared, jnp.bfloat16), FAST), array(1, 128, 128, 512))


def counted(function: Any, arguments: tuple[Any, ...], dump: Path) -> ProgramCost:
    """Return what the yardstick counts."""
    devices = topology.devices(TOPOLOGY)
    traced = trace(function, arguments, replicated(make_mesh(devices)))
    return cost_of(traced.lower().compile(), chip_of(devices[0].device_kind), dump)


def main() -> None:
    """Count the pieces and print the results."""
    found = {}
    with TemporaryDirectory() as folder:
        topology.prepare(TOPOLOGY, Path(folder))
        for piece in (transformer_block, int8_block, top_block, int8_residual_block, vae_block):
            one = counted(*piece(), Path(folder))
            assert one.yardstick is not None, "a v5e has a yardstick"
            found[piece.__name__] = {
                "ms": 1e3 * one.yardstick.total,
                "temporary_mib": one.temporary / 2**20,
                "kernels": sum(each.kind is Kind.KERNEL for each in one.yardstick.operations),
                "unscheduled": one.yardstick.unscheduled,
                "unknown_loops": one.yardstick.unknown_loops,
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
