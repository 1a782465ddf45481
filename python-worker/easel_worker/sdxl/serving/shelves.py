"""The operator's folders of LoRAs and embeddings while the model is served."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import UNSET

from easel_worker.engine import Embedding, Lora
from easel_worker.listed_files import MAX_LISTED_BYTES, MAX_LISTED_EMBEDDING_BYTES, fitting
from easel_worker.sdxl.folder.embedding_file import Embedding as EmbeddingFile
from easel_worker.sdxl.folder.embedding_file import embedding_shelf
from easel_worker.sdxl.folder.preset_names import preset_of_lora
from easel_worker.sdxl.folder.shelf import Shelf, Shelved
from easel_worker.sdxl.lora import metadata
from easel_worker.sdxl.lora.file import Lora as LoraFile
from easel_worker.sdxl.lora.shelf import lora_shelf
from easel_worker.sdxl.lora.targets import Targets
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.options import Options

SCAN_EVERY_S = 5.0
"""The time between two looks at a folder."""

FIRST_SCAN_S = 60.0
"""How long a start waits for the first one, which reads all files."""

T = TypeVar("T")
D = TypeVar("D")


class Shelves:
    """What requests may name, as it was offered last.

    Attributes:
        loras: the LoRAs that are offered.
        embeddings: the embeddings that are offered.
        lora_shelf: None without a folder.
        embedding_shelf: None without a folder.
    """

    def __init__(self, about: Description, options: Options, report: Callable[[str], None]) -> None:
        """Does not read the folders yet.

        Args:
            about: the model's description.
            options: name the folders.
            report: called with a line when a list changes, and for each file that is left out.
        """
        self._report = report
        self._scans: list[tuple[Path, threading.Event]] = []
        self.loras: tuple[Lora, ...] = ()
        self.embeddings: tuple[Embedding, ...] = ()
        self.lora_shelf: Shelf[LoraFile] | None = None
        self.embedding_shelf: Shelf[EmbeddingFile] | None = None
        if options.loras is not None:
            self.lora_shelf = lora_shelf(options.loras, Targets(about.config), report)
        if options.embeddings is not None:
            room = min(tokenizer.info.max_length for tokenizer in about.tokenizers) - 2
            self.embedding_shelf = embedding_shelf(options.embeddings, about.config, room, report)

    def watch(self) -> None:
        """Follow the folders from now on."""
        self._watch(self.lora_shelf, self._list_loras)
        self._watch(self.embedding_shelf, self._list_embeddings)

    def wait(self) -> None:
        """Wait until the folders are read, but not for long."""
        for folder, scanned in self._scans:
            if not scanned.wait(FIRST_SCAN_S):
                self._report(f"still reading {folder}: its files follow")

    def _watch(self, shelf: Shelf[T] | None, offer: Callable[[Shelf[T]], None]) -> None:
        if shelf is not None:
            scanned = shelf.watch(SCAN_EVERY_S, lambda: offer(shelf))
            self._scans.append((shelf.folder, scanned))

    def _list_loras(self, shelf: Shelf[LoraFile]) -> None:
        self.loras = self._fitting("LoRAs", shelf, _lora, MAX_LISTED_BYTES)

    def _list_embeddings(self, shelf: Shelf[EmbeddingFile]) -> None:
        self.embeddings = self._fitting("embeddings", shelf, _embedding, MAX_LISTED_EMBEDDING_BYTES)

    def _fitting(
        self, what: str, shelf: Shelf[T], describe: Callable[[Shelved[T]], D], room: int
    ) -> tuple[D, ...]:
        """What the folder has now."""
        listed = fitting(map(describe, shelf.table.values()), room)
        if len(listed) < len(shelf.table):
            self._report(f"only the first {len(listed)} {what} are offered: the list is too long")
        names = list(shelf.table)[: len(listed)]
        self._report(f"{what}: {', '.join(names) or 'none'}")
        return listed


def _lora(shelved: Shelved[LoraFile]) -> Lora:
    lora, said = shelved.item, shelved.item.metadata
    return Lora(
        shelved.name,
        shelved.digest,
        lora.kind,
        rank=lora.rank or UNSET,
        parts=lora.networks,
        trigger_words=metadata.trigger_words(said) or UNSET,
        base_model=metadata.base_model(said) or UNSET,
        preset=preset_of_lora(shelved.name, *metadata.titles(said)) or UNSET,
    )


def _embedding(shelved: Shelved[EmbeddingFile]) -> Embedding:
    return Embedding(shelved.name, shelved.digest, shelved.item.vectors)
