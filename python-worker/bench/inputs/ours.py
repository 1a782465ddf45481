"""Measures what each input of an image adds, with the worker's engine on the demo model.

    python -m bench.inputs.ours MODEL FOLDER [--rounds 5]                    (in python-worker/)

FOLDER gets the LoRAs, and keeps them for `bench.inputs.theirs`. The kinds' steps alternate, so that
other load on the machine affects all of them equally. Prints one JSON object.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import jax
from msgspec import UNSET

from bench.inputs import kinds
from bench.inputs.kinds import GUIDANCE, KINDS, SIDE, STEPS, STRENGTH, Inputs
from easel_worker.engine import ImageSpec, LoraUse, Picture
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.model import abstract_params
from easel_worker.sdxl.model.params import nbytes
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.options import Options
from easel_worker.values import Size
from parity.loras.files import shapes_of

SWITCHES = 20


class Bench:
    """An engine, and images of each kind."""

    def __init__(self, model: Path, folder: Path, quantization: str = "none") -> None:
        kinds.write_loras(folder, shapes_of(model))
        options = Options(
            devices=jax.devices()[:1],
            sizes=(Size(SIDE, SIDE),),
            max_prompt_chunks=1,
            loras=folder,
            lora_sets=2,
            quantization=quantization,
        )
        self.engine = SdxlEngine(model, options)
        self.engine.warm(lambda line: print(line, file=sys.stderr))
        self._text = describe(model, options).empty_text
        self._loras = {each.name: each.digest for each in self.engine.capabilities.loras}

    def spec(self, inputs: Inputs, seed: int, weight: float = 1.0) -> ImageSpec:
        """An image of a kind."""
        steps = int(STEPS * STRENGTH) if inputs.picture else STEPS
        image, mask = kinds.picture(), kinds.mask()
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
            image=Picture(sha256(image.tobytes()).hexdigest(), image) if inputs.picture else None,
            mask=Picture(sha256(mask.tobytes()).hexdigest(), mask) if inputs.mask else None,
        )
        if inputs.lora is None:
            return spec
        use = LoraUse(inputs.lora, self._loras[inputs.lora], weight, weight)
        return replace(spec, loras=(use,))

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

    def memory(self) -> dict[str, int]:
        """The bytes that each kind adds while its image is in flight."""
        found = {}
        for kind, inputs in KINDS.items():
            lane = self.begin(self.spec(inputs, seed=0))
            plain = self.begin(self.spec(KINDS["text"], seed=0))
            own = {id(each) for each in jax.tree.leaves(plain.unet)}
            copied = [each for each in jax.tree.leaves(lane.unet) if id(each) not in own]
            background = jax.tree.leaves(lane.background)
            found[kind] = sum(each.nbytes for each in (*copied, *background))
        return found

    def _to_the_end(self, lane: SdxlLane) -> SdxlLane:
        while lane.step < lane.spec.steps:
            self.engine.step([lane])
        return lane


def _note(times: list[float], before: float, round_: int) -> None:
    if round_ > 0:
        times.append((time.perf_counter() - before) * 1000)


def _encoder_bytes(model: Path) -> int:
    """What the VAE's encoder, which only pictures need, takes on the devices."""
    dtypes = resolve.dtypes(Options())
    encoder = abstract_params(load_config(model), dtypes, encoder=True).encoder
    return nbytes(encoder)


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.inputs.ours", description=__doc__)
    parser.add_argument("model", type=Path, help="a diffusers folder")
    parser.add_argument("folder", type=Path, help="where to write the LoRAs")
    parser.add_argument("--rounds", default=5, type=int, help="images of each kind")
    chosen = parser.parse_args()
    bench = Bench(chosen.model, chosen.folder)
    int8 = Bench(chosen.model, chosen.folder, "int8")
    programs = bench.engine.capabilities.programs
    found = {
        "images": bench.images(chosen.rounds),
        "switch_ms": bench.switches(),
        "memory": bench.memory(),
        "int8": {"switch_ms": int8.switches(), "memory": int8.memory()},
        "encoder_bytes": _encoder_bytes(chosen.model),
        "programs_s": {each.name: each.seconds for each in programs},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
