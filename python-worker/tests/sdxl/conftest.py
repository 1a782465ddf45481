"""Tiny SDXL folders written from the golden files, and eight fake devices to run on."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from easel_worker.sdxl.serving.compilation import cache_programs_in
from parity import golden
from parity.golden import Golden
from tests.sdxl.engines import COMPILER

GOLDENS = Path(__file__).parent.parent / "goldens" / "sdxl"

# Each way that checkpoints are laid out on disk is met by one case.
SHARDED = {"sdxl-base-in-small", "four-levels"}
OLDER_NAMES = {"demo"}

# Before jax looks for devices. What does not name its devices still runs on the first one.
jax.config.update("jax_num_cpu_devices", 8)
# Compiling is most of these tests' time: it is done in haste here (see parity.compile_once for the
# engines that make many steps), and as a worker does it in the tests that start one. A later run
# compiles much the same.
jax.config.update("jax_disable_most_optimizations", True)
cache_programs_in(Path(__file__).parents[2] / ".cache" / "test-programs")

FolderMaker = Callable[[str], tuple[Golden, Path]]


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    """Frees a module's programs. On a CPU each takes dozens of memory maps, of which Linux allows a
    process 65,530; without the next one, XLA ends the process with a segmentation fault.
    """
    yield
    COMPILER.forget()
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def golden_folder(tmp_path_factory: pytest.TempPathFactory) -> FolderMaker:
    """Gives a golden case and a diffusers folder with its model."""
    written: dict[str, tuple[Golden, Path]] = {}

    def write(name: str) -> tuple[Golden, Path]:
        if name not in written:
            case, folder = golden.load(GOLDENS, name), tmp_path_factory.mktemp(name)
            golden.write_folder(
                case, folder, sharded=name in SHARDED, older_names=name in OLDER_NAMES
            )
            written[name] = (case, folder)
        return written[name]

    return write


@pytest.fixture
def empty_cache(tmp_path: Path) -> Iterator[Path]:
    """A cache of the test's own."""
    shared = jax.config.jax_compilation_cache_dir
    compilation_cache.reset_cache()
    cache_programs_in(tmp_path)
    yield tmp_path
    compilation_cache.reset_cache()
    cache_programs_in(Path(shared))
