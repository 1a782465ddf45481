"""Loads the operator's ControlNets and T2I-Adapters."""

from collections.abc import Callable

from jax.typing import DTypeLike

from easel_worker.engine import Control
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.control_files import ControlFiles
from easel_worker.sdxl.folder.weights import Put
from easel_worker.sdxl.model.controlnet import ControlNetConfig
from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.kernel_options import KernelOptions
from easel_worker.sdxl.model.params import count
from easel_worker.sdxl.serving.lane_control import Net


def load_net(
    files: ControlFiles,
    dtype: DTypeLike,
    put: Put,
    report: Callable[[str], None],
    *,
    kernel_options: KernelOptions,
) -> Net:
    """Read the weights of a net, and its digest.

    Args:
        files: the net.
        dtype: to convert the weights to.
        put: places each array on the devices.
        report: called with a log line before.
        kernel_options: the kernels of the net.

    Raises:
        WeightsError: see `weights.load`.
    """
    tree = files.tree
    kind = "controlnet" if isinstance(files.config, ControlNetConfig) else "t2i-adapter"
    report(f"loading the {kind} {files.name}: {count(tree) / 1e6:.1f} M parameters")
    params = bind(weights.load(files.weights, tree, dtype, put), kernel_options)
    return Net(Control(files.name, files.digest(), kind), files.config, params)
