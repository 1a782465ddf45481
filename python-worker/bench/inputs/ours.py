"""Measures what each input of an image adds, with the worker's engine on the demo model.

    python -m bench.inputs.ours MODEL FOLDER [--rounds 5]                    (in python-worker/)

FOLDER gets the files, and keeps them for `bench.inputs.theirs`. The kinds' steps alternate, so that
other load on the machine affects all of them equally. Prints one JSON object.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import jax
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from bench.inputs import kinds
from bench.inputs.kinds import GUIDANCE, IP_ADAPTER, KINDS, SCALE, SIDE, STEPS, STRENGTH, Inputs
from easel_worker.engine import ControlUse, ImageSpec, IpAdapterUse, LoraUse, Picture
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.model import abstract_params
from easel_worker.sdxl.model.params import nbytes
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.options import Options
from easel_worker.values import Size

SWITCHES = 20


class Bench:
    """An engine, and images of each kind. With int8 it has no nets: its calibration had none."""

    def __init__(self, model: Path, folder: Path, *, int8: bool = False) -> None:
        loras, nets, ip_adapters = kinds.folders(folder)
        options = Options(
            devices=jax.devices()[:1],
            sizes=(Size(SIDE, SIDE),),
            max_prompt_chunks=1,
            loras=loras,
            lora_sets=2,
            controlnets=None if int8 else nets,
            ip_adapters=None if int8 else ip_adapters,
            quantization="int8" if int8 else "none",
        )
        self.engine = SdxlEngine(model, options)
        self.engine.warm(lambda line: print(line, file=sys.stderr))
        self._text = describe(model, options).empty_text
        can = self.engine.capabilities
        self._digests = {
            **{each.name: each.digest for each in can.loras},
            **{each.name: each.digest for each in can.controls},
            **{each.name: each.digest for each in can.ip_adapters},
        }

    def spec(self, inputs: Inputs, seed: int, weight: float = 1.0) -> ImageSpec:
        """An image of a kind."""
        steps = int(STEPS * STRENGTH) if inputs.picture else STEPS
        image, mask = _picture(kinds.picture()), _picture(kinds.mask())
        spec = ImageSpec(
            prompt=self._text,
            negative=self._text,
            seed=seed,
            steps=steps,
            guidance=GUIDANCE,
            scheduler="euler",
            width=SIDE,
            height=SIDE,
            schedule_steps=STEPS if inputs.picture else UNSET,
            image=image if inputs.picture else None,
            mask=mask if inputs.mask else None,
        )
        if inputs.lora is not None:
            lora = LoraUse(inputs.lora, self._digests[inputs.lora], weight, weight)
            return replace(spec, loras=(lora,))
        if inputs.net is not None:
            net = ControlUse(inputs.net, self._digests[inputs.net], SCALE)
            return replace(spec, controls=(net,), control_pictures=(image,))
        if inputs.ip_adapter:
            adapter = IpAdapterUse(IP_ADAPTER.name, self._digests[IP_ADAPTER.name], SCALE)
            return replace(spec, ip_adapters=(adapter,), ip_adapter_pictures=(image,))
        return spec

    def begin(self, spec: ImageSpec) -> SdxlLane:
        """Wait until the engine is prepared, and start an image."""
        ready = threading.Semaphore(0)
        while not self.engine.prepare(spec, ready.release):
            ready.acquire()
        return self.engine.start(spec)

    def images(self, rounds: int) -> dict[str, dict[str, float]]:
        """For each kind the medians of its start, of a step and of its end, in ms."""
        starts, steps, ends = ({kind: [] for kind in KINDS} for _ in range(3))  # type: ignore[var-annotated]
        for round_ in range(rounds + 1):  # the first one warms up
            lanes = {}
            for kind, inputs in KINDS.items():
                spec = self.spec(inputs, seed=round_)
                self.engine.finish(self._to_the_end(self.begin(spec)))  # its LoRAs are merged
                before = time.perf_counter()
                lanes[kind] = self.begin(spec)
                _note(starts[kind], before, round_)
            for _ in range(int(STEPS * STRENGTH)):
                for kind, lane in lanes.items():
                    before = time.perf_counter()
                    self.engine.step([lane])
                    _note(steps[kind], before, round_)
            for kind, lane in lanes.items():
                self._to_the_end(lane)
                before = time.perf_counter()
                self.engine.finish(lane)
                _note(ends[kind], before, round_)
        return {
            kind: {
                "start_ms": statistics.median(starts[kind]),
                "step_ms": statistics.median(steps[kind]),
                "added_ms": statistics.median(
                    a - b for a, b in zip(steps[kind], steps["text"], strict=True)
                ),
                "end_ms": statistics.median(ends[kind]),
            }
            for kind in KINDS
        }

    def switches(self) -> dict[str, float]:
        """For each LoRA the median time from one weight to another, in ms."""
        found = {}
        for kind, inputs in KINDS.items():
            if inputs.lora is None:
                continue
            times: list[float] = []
            for switch in range(SWITCHES):
                spec = self.spec(inputs, seed=0, weight=0.5 + switch / 100)
                before = time.perf_counter()
                self.begin(spec)
                times.append((time.perf_counter() - before) * 1000)
            found[kind] = statistics.median(times)
        return found

    def memory(self, some: Iterable[str]) -> dict[str, int]:
        """The bytes that each of some kinds adds while its image is in flight."""
        found = {}
        for kind in some:
            lane = self.begin(self.spec(KINDS[kind], seed=0))
            plain = self.begin(self.spec(KINDS["text"], seed=0))
            own = {id(each) for each in jax.tree.leaves(plain.unet)}
            copied = [each for each in jax.tree.leaves(lane.unet) if id(each) not in own]
            found[kind] = sum(each.nbytes for each in copied) + _kept(lane) - _kept(plain)
        return found

    def _to_the_end(self, lane: SdxlLane) -> SdxlLane:
        while lane.step < lane.spec.steps:
            self.engine.step([lane])
        return lane


def _note(times: list[float], before: float, round_: int) -> None:
    if round_ > 0:
        times.append((time.perf_counter() - before) * 1000)


def _picture(pixels: NDArray[np.uint8]) -> Picture:
    return Picture(sha256(pixels.tobytes()).hexdigest(), pixels)


def _kept(lane: SdxlLane) -> int:
    """The bytes of what the image keeps of its prompts and pictures."""
    control = lane.control
    of_nets = (
        ()
        if control is None
        else (
            [net.picture for net in control.nets],
            control.features and control.features[1],
            control.contexts,
            control.alone,
        )
    )
    kept = jax.tree.leaves((lane.conditions, lane.alone, lane.background, of_nets))
    return sum({id(each): each.nbytes for each in kept}.values())


def _encoder_bytes(model: Path) -> int:
    """What the VAE's encoder, which only pictures need, takes on the devices."""
    dtypes = resolve.dtypes(Options())
    encoder = abstract_params(load_config(model), dtypes, encoder=True).encoder
    return nbytes(encoder)


def _file_bytes(folder: Path) -> dict[str, int]:
    """The size of each net and adapter, all of which stay on the devices."""
    _, nets, ip_adapters = kinds.folders(folder)
    return {
        each.name: sum(file.stat().st_size for file in each.rglob("*.safetensors"))
        for own in (nets, ip_adapters)
        for each in sorted(own.iterdir())
    }


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.inputs.ours", description=__doc__)
    parser.add_argument("model", type=Path, help="a diffusers folder")
    parser.add_argument("folder", type=Path, help="where to write the LoRAs and the nets")
    parser.add_argument("--rounds", default=5, type=int, help="images of each kind")
    chosen = parser.parse_args()
    kinds.write_files(chosen.model, chosen.folder)
    bench = Bench(chosen.model, chosen.folder)
    int8 = Bench(chosen.model, chosen.folder, int8=True)
    programs = bench.engine.capabilities.programs
    switches = int8.switches()
    found = {
        "images": bench.images(chosen.rounds),
        "switch_ms": bench.switches(),
        "memory": bench.memory(KINDS),
        "int8": {"switch_ms": switches, "memory": int8.memory(switches)},
        "encoder_bytes": _encoder_bytes(chosen.model),
        "file_bytes": _file_bytes(chosen.folder),
        "programs_s": {each.name: each.seconds for each in programs},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
