"""Measures how much images change when operations are skipped or rounded: `npm run bench:drift`.

The same captions and seeds go through the same engine, unchanged and with each variant. The table
shows the peak signal-to-noise ratio between a variant's images and the unchanged ones (those with
a LoRA, where the variant has one), and the share of the captions' facts that the scorer
(demo.evaluation) finds in the images.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bench.inputs.kinds import LORAS
from demo.evaluation.held_out import held_out_captions
from demo.evaluation.report import Report, evaluate
from demo.scenes.captions import Caption
from easel_worker.engine import ImageSpec, LoraUse, Pixels, Tokens
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.options import Options
from parity.loras.files import shapes_of

LORA, LORA_WEIGHT = LORAS[0], 0.3
"""A LoRA of random numbers for all linear layers, at a weight with which images still follow
their captions."""

DEMO = Path(__file__).parents[2] / "models" / "demo"
JUDGED = ("background", "colour", "shape", "relation")


Advance = Callable[[SdxlEngine, SdxlLane], None]
"""Does all steps of a lane."""


def every_step(engine: SdxlEngine, lane: SdxlLane) -> None:
    """Do all steps as the product does."""
    for _ in range(lane.spec.steps):
        engine.step([lane])


@dataclass(frozen=True)
class Variant:
    """A way to make the images.

    Attributes:
        name: in the table.
        options: the engine's.
        asked: the images' parameters.
        lora: the weight of `LORA`; None for images without.
        beside: the name of the variant that its images are compared with.
        advance: does the steps of an image.
    """

    name: str
    options: Options = field(
        default_factory=lambda: Options(
            devices=jax.devices()[:1], max_prompt_chunks=1, image_inputs=False
        )
    )
    asked: Mapping[str, Any] = field(default_factory=dict)
    lora: float | None = None
    beside: str = "plain"
    advance: Advance = every_step


@dataclass(frozen=True)
class Made:
    """Images, and the seconds per image."""

    images: Sequence[Pixels]
    seconds: float


def variants(loras: Path) -> list[Variant]:
    """Return all variants, with `LORA` in a folder; the first is the unchanged one."""
    plain = Variant("plain")
    caching = replace(plain.options, max_cache_interval=5)

    def options(**changes: Any) -> Options:
        return replace(plain.options, **changes)

    with_lora = Variant("a LoRA", options(loras=loras), lora=LORA_WEIGHT)

    def beside_lora(name: str, **changes: Any) -> Variant:
        changed = replace(with_lora.options, **changes)
        return replace(with_lora, name=name, options=changed, beside=with_lora.name)

    return [
        plain,
        Variant("bfloat16", options(dtype="bfloat16")),
        Variant("int8", options(quantization="int8")),
        Variant("guidance 0 to 0.6", asked={"guidance_end": 0.6}),
        Variant("guidance 0.2 to 0.8", asked={"guidance_start": 0.2, "guidance_end": 0.8}),
        Variant("cache_interval 2", caching, {"cache_interval": 2}),
        Variant("cache_interval 3", caching, {"cache_interval": 3}),
        Variant("cache_interval 5", caching, {"cache_interval": 5}),
        *(
            Variant(
                f"cache_interval {n}, order 1", caching, {"cache_interval": n, "cache_order": 1}
            )
            for n in (2, 3, 5)
        ),
        Variant(
            "guidance 0 to 0.6, cache_interval 2",
            caching,
            {"guidance_end": 0.6, "cache_interval": 2},
        ),
        with_lora,
        beside_lora("bfloat16 with the LoRA", dtype="bfloat16"),
        beside_lora("int8 with the LoRA", quantization="int8"),
    ]


def psnr(ours: Pixels, wanted: Pixels) -> float:
    """Return the peak signal-to-noise ratio of 8-bit images, in dB; infinite if they are equal."""
    error = float(np.mean(np.square(ours.astype(np.float64) - wanted)))
    return float("inf") if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))


def make(variant: Variant, texts: Sequence[Tokens]) -> Made:
    """Make an image of each text in turn, the n-th with seed n."""
    engine = SdxlEngine(DEMO, variant.options)
    engine.warm(lambda _: None)
    can, weight = engine.capabilities, variant.lora
    defaults = can.defaults
    loras: tuple[LoraUse, ...] = ()
    if weight is not None:
        loras = tuple(LoraUse(each.name, each.digest, weight, weight) for each in can.loras)
    images = []
    started = time.perf_counter()
    for seed, text in enumerate(texts):
        lane = engine.start(
            ImageSpec(
                prompt=text,
                negative=None,
                seed=seed,
                steps=defaults.num_inference_steps,
                guidance=defaults.guidance_scale,
                scheduler=defaults.scheduler,
                width=defaults.width,
                height=defaults.height,
                loras=loras,
                **variant.asked,
            )
        )
        variant.advance(engine, lane)
        images.append(engine.finish(lane))
    return Made(images, (time.perf_counter() - started) / len(texts))


def row(name: str, made: Made, beside: Made, captions: Sequence[Caption]) -> str:
    """Format a line of the table."""
    ratios = [psnr(a, b) for a, b in zip(made.images, beside.images, strict=True)]
    mean = "–" if made is beside else f"{np.mean(ratios):.1f}"
    least = "–" if made is beside else f"{np.min(ratios):.1f}"
    report = evaluate(lambda *_: list(made.images), captions)
    cells = [mean, least, *(_share(report, each) for each in JUDGED), f"{made.seconds:.2f}"]
    return f"| {name} | {' | '.join(cells)} |"


def _share(report: Report, attribute: str) -> str:
    right, judged = report.counts(attribute)
    return f"{100 * right / judged:.1f}" if judged else "–"


def run(prog: str, description: str | None, compared: Callable[[Path], Iterable[Variant]]) -> None:
    """Print the captions, or the table: what `bench/drift.mjs` calls these programs for.

    Args:
        prog: the program's name.
        description: for its `--help`.
        compared: the variants, given a folder that has `LORA`.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--count", type=int, required=True, help="number of captions")
    parser.add_argument("--captions", action="store_true", help="print them as JSON and exit")
    parser.add_argument(
        "--tokens", type=Path, help='the captions\' ids: JSON, a list of {"ids", "ids_2"}'
    )
    chosen = parser.parse_args()
    captions = held_out_captions(chosen.count)
    if chosen.captions:
        print(json.dumps([caption.text for caption in captions]))
        return
    read = json.loads(chosen.tokens.read_text(encoding="utf-8"))
    texts = [Tokens(tuple(each["ids"]), tuple(each["ids_2"])) for each in read]
    header = ["", "PSNR dB mean", "least", *(f"{each} %" for each in JUDGED), "s an image"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    made: dict[str, Made] = {}
    with tempfile.TemporaryDirectory() as folder:
        LORA.write(Path(folder), shapes_of(DEMO))
        for variant in compared(Path(folder)):
            made[variant.name] = own = make(variant, texts)
            print(row(variant.name, own, made[variant.beside], captions), flush=True)


if __name__ == "__main__":
    run("bench.drift", __doc__, variants)
