"""The command line of `easel-compile`."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from easel_worker.compile import table, topology
from easel_worker.compile.chips import CHIPS, Chip, chip_of
from easel_worker.compile.counting_compiler import Counted, CountingCompiler
from easel_worker.compile.dump import programs_in
from easel_worker.compile.memory import residents
from easel_worker.compile.plan import Plan, compile_all, read
from easel_worker.compile.program_cost import yardstick_json
from easel_worker.compile.yardstick import count
from easel_worker.maxdiffusion.options import Options as MaxDiffusionOptions
from easel_worker.options import NamedOption, add_flags, declared, values_of
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.artifacts import ArtifactWriter
from easel_worker.sdxl.serving.compilation import cache_programs_in
from easel_worker.sdxl.serving.fingerprint import fingerprint
from easel_worker.sdxl.serving.lora_memory import lora_bytes
from easel_worker.sdxl.serving.options import Options

_FAILED = 2
_KNOWN = ", ".join(topology.TOPOLOGIES)
_IMAGES = 2
_ENGINES = {"sdxl": Options, "maxdiffusion": MaxDiffusionOptions}
"""Whose programs can be compiled, with their options."""


def main(arguments: Sequence[str]) -> int:
    """Compile programs or count compiled ones, print and write the figures; return the status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if (chosen.model is None) == (chosen.count is None):
        parser.error("give either --model, to compile its programs, or --count FOLDER")
    with TemporaryDirectory(prefix="easel-schedules-") as temporary:
        try:
            if chosen.count is not None:
                return _count(chosen)
            dump = Path(temporary) if chosen.dump is None else chosen.dump
            return _run(chosen, _empty(dump))
        except (ValueError, OSError) as error:
            print(f"easel-compile: {error}", file=sys.stderr)
            return _FAILED


def _empty(folder: Path) -> Path:
    """Make the folder that the compiler writes to."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"--dump needs an empty folder, and {folder} is not empty")
    return folder.resolve()


def _count(chosen: argparse.Namespace) -> int:
    """Count the programs in a folder that a TPU's compiler wrote, whosoever program they are."""
    name = "v5e" if chosen.topology == topology.PRESENT else chosen.topology.partition(":")[0]
    if name not in CHIPS:
        raise ValueError(f"unknown topology {chosen.topology!r}: choose {_KNOWN}")
    programs: list[dict[str, object]] = []
    for each in programs_in(chosen.count):
        counted = count(*each.read(), CHIPS[name])
        programs.append({"name": each.name, "counted": yardstick_json(counted)})
        print(f"{each.name}, counted for a {name}:\n{table.yardstick_table(counted)}")
        if chosen.instructions:
            print(
                f"\nthe longest operations:\n{table.operations_table(counted, chosen.instructions)}"
            )
        print()
    print(table.NOTE)
    if chosen.json is not None:
        _write(chosen.json, {"note": table.NOTE, "programs": programs})
    return 0


def _write(path: Path, report: Mapping[str, object]) -> None:
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _run(chosen: argparse.Namespace, dump: Path) -> int:
    engine = _ENGINES[chosen.engine]
    for option in _own_settings(MaxDiffusionOptions):
        if engine is not MaxDiffusionOptions and vars(chosen)[option.flag] is not None:
            raise ValueError(f"{option.flag} needs --engine maxdiffusion")
    given = values_of(_settings(engine), vars(chosen), environment={})
    topology.prepare(chosen.topology, dump)
    if chosen.write is not None:
        _start_afresh(chosen.write / "cache")
    devices = topology.devices(chosen.topology)
    options = engine(**given, devices=devices)
    plan = read(chosen.model, options, only=chosen.only_sizes)
    chip = chip_of(devices[0].device_kind)
    compiler = CountingCompiler(
        chip=chip,
        dump=dump,
        writer=None if chosen.write is None else ArtifactWriter(chosen.write, devices),
        wanted=re.compile(chosen.programs),
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    compile_all(plan, compiler)
    _print(plan, compiler.counted, chip, chosen)
    if chosen.json is not None:
        programs = [_as_json(each) for each in compiler.counted]
        written = {"fingerprint": fingerprint(devices), "note": table.NOTE, "programs": programs}
        _write(chosen.json, written)
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
    found = residents(plan.params, counted, plan.refiner_params)
    print(f"\n{table.memory_lines(found, chip, _IMAGES)}")
    print(table.lora_line(lora_bytes(plan.config, resolve.dtypes(plan.options))))
    for each in counted:
        if each.cost.collectives:
            print(f"{each.name}: communication between chips: {each.cost.collectives}")
        if each.cost.yardstick is not None:
            print(f"\n{each.name}:\n{table.yardstick_table(each.cost.yardstick)}")
        if each.cost.yardstick is not None and chosen.instructions:
            print(f"\n{each.name}: the longest operations:")
            print(table.operations_table(each.cost.yardstick, chosen.instructions))
    print(f"\n{table.NOTE}")


def _as_json(counted: Counted) -> dict[str, object]:
    return {
        "name": counted.name,
        "compile_seconds_measured": round(counted.compile_seconds, 2),
        "artifact_bytes": counted.written,
        "counted": counted.cost.as_json(),
    }


def _settings(engine: type[Options]) -> tuple[NamedOption, ...]:
    """The options of an engine that programs depend on."""
    return *_shared_settings(), *_own_settings(engine)


def _own_settings(engine: type[Options]) -> tuple[NamedOption, ...]:
    shared = {option.field for option in declared(Options)}
    return tuple(option for option in declared(engine) if option.field not in shared)


def _shared_settings() -> tuple[NamedOption, ...]:
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
        "embeddings",
        "controlnets",
        "ip_adapters",
        "refiner",
        "max_cache_interval",
        "max_prompt_chunks",
        "more_schedulers",
        "methods",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="easel-compile",
        description="Compile a model's programs for a TPU, without needing one, and count what "
        "they need. Counted milliseconds compare programs; they do not predict times.",
    )
    add = parser.add_argument
    add("--model", type=Path, help="a diffusers folder; weights are not read")
    add(
        "--engine",
        choices=sorted(_ENGINES),
        default="sdxl",
        help="whose UNet; maxdiffusion counts MaxDiffusion's, where that is installed",
    )
    add(
        "--count",
        type=Path,
        metavar="FOLDER",
        help="compile nothing: count the programs that any process with libtpu left in this "
        f"folder, with LIBTPU_INIT_ARGS='{topology.dump_flags('FOLDER')}'",
    )
    add(
        "--topology",
        default=topology.PRESENT,
        help=f"{_KNOWN}, or {topology.PRESENT} for this machine's devices (default). With --count, "
        "the chip that was compiled for (default: v5e)",
    )
    add("--only-sizes", action="store_true", help="skip the model's default size")
    add("--programs", default="", help="compile only programs whose name matches this pattern")
    add(
        "--instructions",
        type=int,
        default=0,
        help="show this many of each program's longest operations",
    )
    add(
        "--dump",
        type=Path,
        metavar="FOLDER",
        help="keep what the compiler writes in this empty folder, to --count it again",
    )
    add("--json", type=Path, help="write all figures to this file")
    add(
        "--write",
        type=Path,
        help="write programs for a worker's --artifacts to this folder, with entries for "
        "--compile-cache in its folder `cache`. Not yet tried on a TPU",
    )
    add_flags(parser, _settings(MaxDiffusionOptions))
    return parser
