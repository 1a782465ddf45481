"""Programs that `easel-compile` compiled ahead of time and wrote into a folder.

A worker uses such a program only if everything that the program depends on is the same: the
folder's fingerprint and the program's own text before compilation. We have not tried whether a real
TPU accepts a program compiled on a machine without one; if it does not, the worker logs that and
compiles the program itself.

Loading a program unpickles it, which can run any code. Use only folders that you made yourself.
"""

import json
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.sharding import Sharding

from easel_worker.engine import ProgramInfo
from easel_worker.sdxl.serving.compilation import CompileHere, Program, trace
from easel_worker.sdxl.serving.fingerprint import Fingerprint, differences, digest, fingerprint
from easel_worker.sdxl.serving.whole_file import write_whole

MANIFEST = "manifest.json"
_ENDING = ".zlib"


class ArtifactWriter:
    """Writes compiled programs into a folder."""

    def __init__(self, folder: Path, devices: Sequence[jax.Device]) -> None:
        """Create the folder if it is missing. A new manifest replaces that of earlier programs."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._fingerprint = fingerprint(devices)
        self._programs: dict[str, str] = {}

    def add(self, name: str, lowered: Any, compiled: Any) -> int:
        """Write a program; returns its size on disk in bytes, about a quarter of that in memory."""
        key = digest(lowered.as_text())
        serialized, _, _ = serialize_executable.serialize(compiled)
        payload = zlib.compress(serialized, level=1)
        write_whole(self._folder / f"{key}{_ENDING}", payload)
        self._programs[key] = name
        manifest = {"fingerprint": self._fingerprint, "programs": self._programs}
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        write_whole(self._folder / MANIFEST, text.encode())
        return len(payload)


class ArtifactError(ValueError):
    """A folder holds no usable programs; the message says why."""


class UseArtifacts:
    """Loads programs from a folder and compiles those that are missing."""

    def __init__(
        self, folder: Path, devices: Sequence[jax.Device], report: Callable[[str], None]
    ) -> None:
        """Read the folder's manifest.

        Args:
            folder: what `easel-compile --write` wrote.
            devices: the devices to run on.
            report: called with one readable line for each program.

        Raises:
            ArtifactError: `easel-compile` did not write the folder, or wrote it for other devices
                or versions.
        """
        self._folder = folder
        self._devices = devices
        self._report = report
        self._otherwise = CompileHere(report)
        self._programs = _read_manifest(folder, fingerprint(devices))

    def compile(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], where: Sharding
    ) -> Program:
        """See `Compiler.compile`."""
        started = time.perf_counter()
        lowered = trace(function, arguments, where).lower()
        key = digest(lowered.as_text())
        if key not in self._programs:
            self._report(f"{self._folder} has no {name} that fits this model and these options")
            return self._otherwise.compile(name, function, arguments, where)
        try:
            run = _load(self._folder / f"{key}{_ENDING}", lowered, self._devices)
        except Exception as error:  # noqa: BLE001 - unpickling may raise anything
            self._report(f"{name} in {self._folder} cannot be used: {error}")
            return self._otherwise.compile(name, function, arguments, where)
        info = ProgramInfo(name, round(time.perf_counter() - started, 3), cached=True)
        self._report(f"took {name} from {self._folder} in {info.seconds:.1f} s")
        return Program(info, run)


def _read_manifest(folder: Path, here: Fingerprint) -> dict[str, str]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        made, programs = dict(manifest["fingerprint"]), dict(manifest["programs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder} holds no programs written by easel-compile: {error}. Write them with "
            f"easel-compile --write {folder}"
        ) from error
    if different := differences(made, here):
        raise ArtifactError(f"{folder} does not fit this worker: {'; '.join(different)}")
    return programs


def _load(path: Path, lowered: Any, devices: Sequence[jax.Device]) -> Callable[..., Any]:
    loaded: Callable[..., Any] = serialize_executable.deserialize_and_load(
        zlib.decompress(path.read_bytes()),
        jax.tree.structure(lowered.args_info),
        lowered.out_tree,
        backend=devices[0].client,
        execution_devices=devices,
    )
    return loaded
