"""Measures what the check for NaN and infinity costs, in pairs with and without it.

    python -m bench.not_finite --model ../models/demo --rounds 200          (in python-worker/)

Without it, the same function does not return the check's result, so the compiler removes it.
A round runs both in alternation, so that other load on the machine affects both equally.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from easel_worker.engine import Tokens
from easel_worker.sdxl.folder.model import SdxlParams, load_params
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.serving import programs, resolve
from easel_worker.sdxl.serving.describe import Description, describe
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.programs import LaneInput, StepNumbers
from easel_worker.sdxl.serving.sharding import replicate
from easel_worker.sdxl.serving.time_ids import own_size
from easel_worker.values import Size

Function = Callable[..., Any]
GUIDANCE = 5.0


def main() -> None:
    """Measure, and print a line for each program."""
    parser = argparse.ArgumentParser(prog="bench.not_finite", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="a diffusers folder")
    parser.add_argument("--rounds", default=200, type=int, help="runs of each program")
    chosen = parser.parse_args()
    options = Options(devices=jax.devices()[:1], max_prompt_chunks=1, image_inputs=False)
    about = describe(chosen.model, options)
    dtypes, put = resolve.dtypes(options), replicate(resolve.mesh(options))
    kernel_options = resolve.kernel_options(options)
    params = load_params(
        about.files, about.config, dtypes, put, lambda _: None, kernel_options=kernel_options
    )
    for name, function, part, arguments in _cases(about, params, options):
        pair = [jax.jit(function), jax.jit(lambda *a, f=function, p=part: p(f(*a)))]
        times = _in_turns(pair, arguments, chosen.rounds)
        checked, plain = (statistics.median(each) * 1000 for each in times)
        differences = [1000 * (a - b) for a, b in zip(*times, strict=True)]
        print(
            f"{name}: {checked:.3f} ms with the check, {plain:.3f} ms without; "
            f"median of the paired differences {statistics.median(differences):+.4f} ms"
        )


def _cases(
    about: Description, params: SdxlParams, options: Options
) -> list[tuple[str, Function, Function, tuple[Any, ...]]]:
    """Yield name, function, a selector of the results without the check, and arguments."""
    config, defaults = about.config, about.capabilities.defaults
    size = Size(defaults.width, defaults.height)
    text = Tokens(about.empty_text.ids, about.empty_text.ids_2)
    ids = np.array(text.ids, np.int32), np.array(text.ids_2, np.int32), np.int32(0)
    prompt = jax.jit(programs.encode)(params.text, *ids).prompt
    project = partial(programs.project, ahead=True)
    conditions = jax.jit(project)(params.unet, (prompt, prompt), np.stack([own_size(size)] * 2))
    state = programs.begin(jnp.uint32(1), jnp.float32(1), shape=programs.latent_shape(config, size))
    table = sampler.make_table(config.scheduler, defaults.scheduler, 4)
    numbers = StepNumbers(
        np.array([table.timesteps[0]]),
        np.array([GUIDANCE], np.float32),
        np.array([0], np.float32),
        np.array([1], np.uint32),
        np.array([0], np.uint32),
        jax.tree.map(lambda column: np.array([column], np.float32), table.at(0)),
    )
    denoise = partial(programs.denoise, mesh=resolve.mesh(options))
    lane = LaneInput(state, conditions)
    return [
        ("encode", programs.encode, lambda made: made.prompt, (params.text, *ids)),
        (f"guided step {size}", denoise, lambda made: made.lanes, (params.unet, (lane,), numbers)),
        (
            f"decode {size}",
            programs.decode,
            lambda made: made.pixels,
            (params.vae, state.sample),
        ),
    ]


def _in_turns(
    pair: Sequence[Function], arguments: tuple[Any, ...], rounds: int
) -> list[list[float]]:
    """Return the seconds of each run of each function; the order alternates between rounds."""
    for run in pair:
        jax.block_until_ready(run(*arguments))  # type: ignore[no-untyped-call]
    times: list[list[float]] = [[] for _ in pair]
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            jax.block_until_ready(pair[which](*arguments))  # type: ignore[no-untyped-call]
            times[which].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
