"""The command line of `easel-compile`."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from easel_worker.compile import table, topology
from easel_worker.compile.chips import Chip, chip_of
from easel_worker.compile.counting_compiler import Counted, CountingCompiler
from easel_worker.compile.memory import residents
from easel_worker.compile.plan import Plan, compile_all, read
from easel_worker.options import NamedOption, add_flags, declared, values_of
from easel_worker.sdxl.serving.artifacts import ArtifactWriter
from easel_worker.sdxl.serving.compilation import cache_programs_in
from easel_worker.sdxl.serving.fingerprint import fingerprint
from easel_worker.sdxl.serving.options import Options

_FAILED = 2
_IMAGES = 2


def main(arguments: Sequence[str]) -> int:
    """Compile programs, print and write the figures; return the exit status."""
    chosen = _parser().parse_args(arguments)
    with TemporaryDirectory(prefix="easel-schedules-") as schedules:
        try:
            return _run(chosen, Path(schedules))
        except (ValueError, OSError) as error:
            print(f"easel-compile: {error}", file=sys.stderr)
            return _FAILED


def _run(chosen: argparse.Namespace, schedules: Path) -> int:
    given = values_of(_settings(), vars(chosen), environment={})
    topology.prepare(chosen.topology, schedules)
    if chosen.write is not None:
        _start_afresh(chosen.write / "cache")
    devices = topology.devices(chosen.topology)
    options = Options(**given, devices=devices)
    plan = read(chosen.model, options, only=chosen.only_sizes)
    chip = chip_of(devices[0].device_kind)
    compiler = CountingCompiler(
        chip=chip,
        schedules=None if chosen.topology == topology.PRESENT else schedules,
        writer=None if chosen.write is None else ArtifactWriter(chosen.write, devices),
        wanted=re.compile(chosen.programs),
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    compile_all(plan, compiler)
    _print(plan, compiler.counted, chip, chosen)
    if chosen.json is not None:
        programs = [_as_json(each) for each in compiler.counted]
        report = {"fingerprint": fingerprint(devices), "note": table.NOTE, "programs": programs}
        chosen.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _start_afresh(cache: Path) -> None:
    """Empty the cache: jax cannot serialize a CPU program that it read from its cache."""
    rmtree(cache, ignore_errors=True)
    cache_programs_in(cache)


def _print(
    plan: Plan,
    counted: list[Counted],
    chip: Chip | None,
    chosen: argparse.Namespace,
) -> None:
    print(table.programs_table(counted, chip))
    if chip is None:
        return
    print(f"\n{table.kernels_table(counted)}")
    print(f"\n{table.memory_lines(residents(plan.params, counted), chip, _IMAGES)}")
    for each in counted:
        if each.cost.collectives:
            print(f"{each.name}: communication between chips: {each.cost.collectives}")
        if chosen.instructions:
            print(f"\n{each.name}: the longest of XLA's instructions:")
            print(table.instructions_table(each, chip, chosen.instructions))
    print(f"\n{table.NOTE}")


def _as_json(counted: Counted) -> dict[str, object]:
    return {
        "name": counted.name,
        "compile_seconds_measured": round(counted.compile_seconds, 2),
        "artifact_bytes": counted.written,
        "counted": counted.cost.as_json(),
    }


def _settings() -> tuple[NamedOption, ...]:
    """The worker's options that programs depend on."""
    return declared(
        Options,
        "sizes",
        "dtype",
        "vae_dtype",
        "vae_tile",
        "quantization",
        "batch_lanes",
        "split_guidance",
        "image_inputs",
        "max_cache_interval",
        "max_prompt_chunks",
        "more_schedulers",
        "methods",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="easel-compile",
        description="Compile a model's programs for a TPU, without needing one, and print the "
        "compiler's estimates. Estimated milliseconds compare programs; they do not predict times.",
    )
    add = parser.add_argument
    known = ", ".join(topology.TOPOLOGIES)
    add("--model", type=Path, required=True, help="a diffusers folder; weights are not read")
    add(
        "--topology",
        default=topology.PRESENT,
        help=f"{known}, or {topology.PRESENT} for this machine's devices (default)",
    )
    add("--only-sizes", action="store_true", help="skip the model's default size")
    add("--programs", default="", help="compile only programs whose name matches this pattern")
    add(
        "--instructions",
        type=int,
        default=0,
        help="show this many of each program's longest instructions",
    )
    add("--json", type=Path, help="write all figures to this file")
    add(
        "--write",
        type=Path,
        help="write programs for a worker's --artifacts to this folder, with entries for "
        "--compile-cache in its folder `cache`. Not yet tried on a TPU",
    )
    add_flags(parser, _settings())
    return parser
