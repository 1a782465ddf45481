"""Loads and compiles what changes an image's steps by pictures: nets and IP-Adapters together."""

from collections.abc import Callable, Sequence
from typing import Any

from easel_worker.engine import CONTROLS, IP_ADAPTERS, Capabilities
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.control_loading import load_nets
from easel_worker.sdxl.serving.control_programs import ControlPrograms
from easel_worker.sdxl.serving.controls import Controls
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.image_prompts import (
    ImagePromptPrograms,
    ImagePrompts,
    LoadedAdapter,
    load_adapters,
)
from easel_worker.sdxl.serving.lane_control import Net
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.runner import Runner
from easel_worker.sdxl.serving.sharding import replicate, replicated
from easel_worker.sdxl.serving.trial import try_control, try_ip_adapter

Report = Callable[[str], None]


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
        report: called with a line for each part that is read.
        """
        self._about = about
        self._options = options
        self._report = report

    def add(self, runner: Runner, programs: ProgramSet, now: Capabilities) -> dict[str, Any]:
        """Read the weights, compile the programs of both kinds, and make a trial image with each.

        Returns:
            What capabilities have besides, by their fields.

        Raises:
            WeightsError: see `weights.load`.
            BrokenModelError: the numbers of a net or an adapter are not finite.
        """
        about, options = self._about, self._options
        control = pictures = None
        nets: Sequence[Net] = ()
        adapters: Sequence[LoadedAdapter] = ()
        if about.controls:
            control, nets = self._load_nets(programs)
        if about.ip_adapters:
            pictures, adapters = self._load_adapters(programs)
        lane_counts = resolve.lane_counts(options)
        for size in now.sizes:
            programs.add_conditioned(control, pictures, size, now.limits.max_chunks, lane_counts)
        added: dict[str, Any] = {}
        if control is not None:
            runner.controls = Controls(nets, control)
            added["controls"] = tuple(net.listed for net in nets)
        if pictures is not None:
            everywhere = replicated(resolve.mesh(options))
            runner.image_prompts = ImagePrompts(adapters, pictures, everywhere)
            added["ip_adapters"] = tuple(adapter.listed for adapter in adapters)
        for net in nets:
            try_control(runner, about, options, now.sizes[0], net.listed)
        for adapter in adapters:
            try_ip_adapter(runner, about, options, now.sizes[0], adapter.listed)
        return added

    def _load_nets(self, programs: ProgramSet) -> tuple[ControlPrograms, Sequence[Net]]:
        found, kernel_options = self._about.controls, resolve.kernel_options(self._options)
        dtype, put = resolve.dtypes(self._options).model, replicate(resolve.mesh(self._options))
        nets = tuple(load_nets(found, dtype, put, self._report, kernel_options=kernel_options))
        configs = tuple(dict.fromkeys(files.config for files in found))
        return programs.control_programs(configs, kernel_options=kernel_options), nets

    def _load_adapters(
        self, programs: ProgramSet
    ) -> tuple[ImagePromptPrograms, Sequence[LoadedAdapter]]:
        found, unet = self._about.ip_adapters, self._about.config.unet
        dtype, put = resolve.dtypes(self._options).model, replicate(resolve.mesh(self._options))
        adapters = load_adapters(found, unet, dtype, put, self._report)
        return programs.image_prompt_programs(found), adapters
