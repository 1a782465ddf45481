"""Times the model's programs on whatever device jax finds.

    python -m bench.card.ours MODEL [--methods plain] [--lanes 1,2,4,8]      (in python-worker/)

Prints one JSON object: a guided step for each number of images in a call, the decoder, and whole
images. `--pixels FILE` keeps the pixels of each call's first image, to compare two sets of kernels.
`--maxdiffusion ATTENTION` steps MaxDiffusion's UNet, that of MAXDIFFUSION or the installed one.
"""

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from bench.card.loras import time_loras
from easel_worker.engine import ImageSpec, ProgramInfo, Tokens
from easel_worker.maxdiffusion.options import ATTENTIONS
from easel_worker.maxdiffusion.options import Options as MaxDiffusionOptions
from easel_worker.maxdiffusion.start import other_unet
from easel_worker.sdxl.folder.model import load_params
from easel_worker.sdxl.folder.shelf import Shelf
from easel_worker.sdxl.lora.file import Lora
from easel_worker.sdxl.lora.shelf import lora_shelf
from easel_worker.sdxl.lora.targets import Targets
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.adapters import Adapters
from easel_worker.sdxl.serving.chunk_vectors import ChunkVectors
from easel_worker.sdxl.serving.compilation import CompileHere, Compiler, Program
from easel_worker.sdxl.serving.describe import Description, describe
from easel_worker.sdxl.serving.lanes import LaneCounts, SdxlLane
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.other_unet import OtherUNet, described, with_other
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.runner import Runner
from easel_worker.sdxl.serving.sharding import replicate
from easel_worker.values import Size

GUIDANCE = 5.0
STEPS = 20
WARM_UP = 3


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.card.ours", description=__doc__)
    parser.add_argument("model", type=Path, help="a diffusers folder or a single file")
    parser.add_argument("--methods", default="auto", help="as METHODS")
    parser.add_argument("--lanes", default="1", help="numbers of images in a call")
    parser.add_argument("--side", default=1024, type=int, help="pixels along an image's sides")
    parser.add_argument("--loras", type=Path, help="a folder of LoRAs, to time their merging")
    parser.add_argument("--switches", default=0, type=int, help="how many times they are merged")
    parser.add_argument("--pixels", type=Path, help="where to write pixels (.npz)")
    parser.add_argument("--maxdiffusion", choices=ATTENTIONS, help="as MAXDIFFUSION_ATTENTION")
    parser.add_argument("--flash-min-tokens", default=4096, type=int)
    parser.add_argument("--trace", type=Path, help="where to write the profiler's trace")
    chosen = parser.parse_args()
    lanes = tuple(int(each) for each in chosen.lanes.split(","))
    size = Size(chosen.side, chosen.side)
    given: dict[str, Any] = {
        "devices": jax.devices()[:1],
        "methods": chosen.methods,
        "batch_lanes": lanes,
        "sizes": (),
        "max_prompt_chunks": 1,
        "loras": chosen.loras,
        "lora_sets": 1,
    }
    started = time.perf_counter()
    options, other = _options(chosen, given)
    runner, about, shelf = start(chosen.model, options, size, CompileHere(say), other)
    found: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "methods": chosen.methods,
        "maxdiffusion": chosen.maxdiffusion,
        "side": chosen.side,
        "start_s": time.perf_counter() - started,
        "programs_s": {info.name: info.seconds for info in runner.infos},
    }
    pixels = {}
    specs = [_spec(about, chosen.side, seed) for seed in range(max(lanes))]
    table = sampler.make_table(about.config.scheduler, "euler", STEPS)

    def begin(count: int) -> list[SdxlLane]:
        return [runner.start(spec, table, None) for spec in specs[:count]]

    for count in lanes:
        found[f"lanes_{count}"], pixels[str(count)] = _measure(runner, begin, count)
        print(count, found[f"lanes_{count}"], file=sys.stderr, flush=True)
    found["memory"] = _memory()
    if chosen.trace is not None:
        with jax.profiler.trace(chosen.trace):
            _measure(runner, begin, lanes[0])
    if shelf is not None:
        found["loras"] = time_loras(runner.adapters, shelf, chosen.switches, _memory)
        after = _measure(runner, begin, lanes[0])[0]
        found["loras"]["same_bytes_after"] = after["sha256"] == found[f"lanes_{lanes[0]}"]["sha256"]
    if chosen.pixels is not None:
        np.savez(chosen.pixels, **pixels)
    print(json.dumps(found))


def _options(chosen: argparse.Namespace, given: dict[str, Any]) -> tuple[Options, OtherUNet | None]:
    """The engine's options, and MaxDiffusion's UNet if it was asked for."""
    if chosen.maxdiffusion is None:
        return Options(**given), None
    checkout = os.environ.get("MAXDIFFUSION")
    options = MaxDiffusionOptions(
        **given,
        maxdiffusion=None if checkout is None else Path(checkout),
        maxdiffusion_attention=chosen.maxdiffusion,
        maxdiffusion_flash_min_tokens=chosen.flash_min_tokens,
    )
    return options, other_unet(chosen.model, options)


def start(
    model: Path,
    options: Options,
    size: Size,
    compiler: Compiler,
    other: OtherUNet | None = None,
) -> tuple[Runner, Description, Shelf[Lora] | None]:
    """Load the model and make the programs that guided images of one size need."""
    about = described(describe(model, options), other)
    mesh, dtypes = resolve.mesh(options), resolve.dtypes(options)
    kernels, put = resolve.kernel_options(options), replicate(resolve.mesh(options))
    loaded = load_params(about.files, about.config, dtypes, put, say, kernel_options=kernels)
    params = with_other(loaded, other)
    counts = LaneCounts(guided=resolve.lane_counts(options).guided, unguided=())
    text = about.empty_text
    with _InParallel(compiler) as parallel:
        programs = ProgramSet(
            about.config, params, mesh, (len(text.ids), len(text.ids_2)), compiler=parallel
        )
        programs.add_size(size, counts)
    shelf = None
    if options.loras is not None:
        shelf = lora_shelf(options.loras, Targets(about.config), say)
        shelf.scan()
    adapters = Adapters(about.config, params, put, programs.merges, shelf=shelf)
    if shelf is not None:
        programs.add_merges(adapters.parameters)
    runner = Runner(
        about.config,
        params,
        programs,
        mesh,
        empty_text=text,
        lane_counts=counts,
        adapters=adapters,
        vectors=ChunkVectors(None, None),
    )
    return runner, about, shelf


def _spec(about: Description, side: int, seed: int) -> ImageSpec:
    text = about.empty_text
    prompt = Tokens((*text.ids[:1], 320 + seed, *text.ids[1:-1]), text.ids_2)
    return ImageSpec(
        prompt=prompt,
        negative=text,
        seed=seed,
        steps=STEPS,
        guidance=GUIDANCE,
        scheduler="euler",
        width=side,
        height=side,
    )


def _measure(
    runner: Runner, begin: Callable[[int], list[SdxlLane]], count: int
) -> tuple[dict[str, Any], Any]:
    """Make images in calls of some number, twice: to warm up, and to measure."""
    lanes = begin(count)
    for _ in range(WARM_UP):
        runner.step(lanes)
    runner.finish(_finished(runner, lanes)[0])
    started = time.perf_counter()
    lanes, steps = begin(count), []
    encoded = time.perf_counter()
    for _ in range(STEPS):
        before = time.perf_counter()
        runner.step(lanes)
        steps.append(time.perf_counter() - before)
    denoised = time.perf_counter()
    pixels = [runner.finish(lane) for lane in lanes]
    ended = time.perf_counter()
    figures = {
        "step_ms": statistics.median(steps) * 1000,
        "encode_ms": (encoded - started) / count * 1000,
        "decode_ms": (ended - denoised) / count * 1000,
        "images_per_s": count / (ended - started),
        "sha256": hashlib.sha256(pixels[0].tobytes()).hexdigest(),
    }
    return figures, pixels[0]


def _finished(runner: Runner, lanes: Sequence[SdxlLane]) -> Sequence[SdxlLane]:
    while lanes[0].step < STEPS:
        runner.step(lanes)
    return lanes


def _memory() -> dict[str, int]:
    stats = jax.devices()[0].memory_stats() or {}
    names = ("bytes_in_use", "peak_bytes_in_use", "bytes_limit")
    return {name: stats[name] for name in names if name in stats}


class _InParallel:
    """Compiles programs on several threads; all are done when the context ends."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._pool = ThreadPoolExecutor(8)
        self._pending: list[Future[Program]] = []

    def __enter__(self) -> "_InParallel":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for each in self._pending:
            each.result()

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`; the program waits until it is there."""
        future = self._pool.submit(self._compiler.compile, name, function, arguments, where)
        self._pending.append(future)
        info = ProgramInfo(name, 0.0, cached=False)
        return Program(info, lambda *given: future.result().run(*given))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
