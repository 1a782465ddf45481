"""Loads and compiles what changes an image's steps by pictures: nets and IP-Adapters together."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from jax.typing import DTypeLike

from easel_worker.engine import CONTROLS, IP_ADAPTERS, Capabilities
from easel_worker.sdxl.folder.control_files import ControlFiles
from easel_worker.sdxl.folder.ip_adapter import IpAdapterFiles
from easel_worker.sdxl.folder.weights import Put
from easel_worker.sdxl.model.vision_encoder import VisionEncoder
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.control_loading import load_net
from easel_worker.sdxl.serving.controls import Controls
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.image_prompts import (
    ImagePrompts,
    LoadedAdapter,
    load_adapter,
)
from easel_worker.sdxl.serving.lane_control import Net
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.runner import Runner
from easel_worker.sdxl.serving.sharding import replicate, replicated
from easel_worker.sdxl.serving.trial import try_control, try_ip_adapter

Report = Callable[[str], None]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


One = TypeVar("One", bound=_Named)
Made = TypeVar("Made")

_CONTROL, _IP_ADAPTER = "control", "IP-Adapter"


def condition_features(about: Description) -> tuple[str, ...]:
    """The features of images whose steps pictures change, if the operator has what does it."""
    kinds = ((CONTROLS, about.controls), (IP_ADAPTERS, about.ip_adapters))
    return tuple(feature for feature, found in kinds if found)


class Conditioning:
    """Adds these features to a runner."""

    def __init__(self, about: Description, options: Options, report: Report) -> None:
        """Args:

        about: the model's description.
        options: the operator's.
        report: called with a line for each part that is read, and for what is not offered.
        """
        self._about = about
        self._options = options
        self._report = report
        self._encoders: dict[str, VisionEncoder] = {}

    def add(self, runner: Runner, programs: ProgramSet, now: Capabilities) -> dict[str, Any]:
        """Read the weights, compile the programs of both kinds, and make a trial image with each.

        Returns:
            What capabilities list besides, by their fields: the nets and adapters that could be
            read and whose trial images were made. `report` has said why others were not.
        """
        about, options, size = self._about, self._options, now.sizes[0]
        control = pictures = None
        nets: Sequence[Net] = ()
        adapters: Sequence[LoadedAdapter] = ()
        if about.controls:
            nets = self._each(_CONTROL, about.controls, self._load_net)
            configs = tuple(dict.fromkeys(files.config for files in about.controls))
            kernel_options = resolve.kernel_options(options)
            control = programs.control_programs(configs, kernel_options=kernel_options)
        if about.ip_adapters:
            adapters = self._each(_IP_ADAPTER, about.ip_adapters, self._load_adapter)
            pictures = programs.image_prompt_programs(about.ip_adapters)
        lane_counts = resolve.lane_counts(options)
        for each in now.sizes:
            programs.add_conditioned(control, pictures, each, now.limits.max_chunks, lane_counts)
        everywhere = replicated(resolve.mesh(options))

        def use(nets: Sequence[Net], adapters: Sequence[LoadedAdapter]) -> None:
            runner.controls = None if control is None else Controls(nets, control)
            if pictures is not None:
                runner.image_prompts = ImagePrompts(adapters, pictures, everywhere)

        def try_net(net: Net) -> Net:
            try_control(runner, about, options, size, net.listed)
            return net

        def try_adapter(adapter: LoadedAdapter) -> LoadedAdapter:
            try_ip_adapter(runner, about, options, size, adapter.listed)
            return adapter

        use(nets, adapters)
        nets = self._each(_CONTROL, nets, try_net)
        adapters = self._each(_IP_ADAPTER, adapters, try_adapter)
        use(nets, adapters)
        return {
            CONTROLS: tuple(net.listed for net in nets),
            IP_ADAPTERS: tuple(adapter.listed for adapter in adapters),
        }

    def _each(self, what: str, ones: Sequence[One], do: Callable[[One], Made]) -> tuple[Made, ...]:
        """What is made of each of them, without those that fail."""
        made = []
        for one in ones:
            try:
                made.append(do(one))
            except Exception as error:  # noqa: BLE001 - the device may raise anything
                self._report(f"warning: the {what} {one.name} is not offered: {error}")
        return tuple(made)

    def _load_net(self, files: ControlFiles) -> Net:
        kernel_options = resolve.kernel_options(self._options)
        return load_net(files, *self._where, self._report, kernel_options=kernel_options)

    def _load_adapter(self, files: IpAdapterFiles) -> LoadedAdapter:
        unet, encoders = self._about.config.unet, self._encoders
        return load_adapter(files, unet, *self._where, self._report, encoders=encoders)

    @property
    def _where(self) -> tuple[DTypeLike, Put]:
        """The dtype of weights, and what places them on the devices."""
        return resolve.dtypes(self._options).model, replicate(resolve.mesh(self._options))
