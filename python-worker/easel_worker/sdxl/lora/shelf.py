"""The folder of LoRAs that the operator names."""

from collections.abc import Callable
from pathlib import Path

from easel_worker.sdxl.folder.shelf import Shelf
from easel_worker.sdxl.lora.file import Lora, read_lora
from easel_worker.sdxl.lora.targets import Targets

MAX_FILE_BYTES = 4 * 2**30


def lora_shelf(
    folder: Path, targets: Targets, report: Callable[[str], None] | None = None
) -> Shelf[Lora]:
    """The LoRAs of a folder, not read yet; see `Shelf`.

    Args:
        folder: has the files.
        targets: the layers of the model.
        report: called with a line for each file that cannot be used.
    """
    return Shelf(
        folder,
        lambda path: read_lora(path, targets),
        what="a LoRA",
        most_bytes=MAX_FILE_BYTES,
        report=report,
    )
