"""The fake engine's LoRAs, embeddings and so on: any files, known by their digests."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import UNSET, UnsetType

from easel_worker.engine import Control, Embedding, IpAdapter, Lora
from easel_worker.listed_files import (
    MAX_LISTED,
    MAX_LISTED_BYTES,
    MAX_LISTED_CONTROL_BYTES,
    MAX_LISTED_CONTROLS,
    MAX_LISTED_EMBEDDING_BYTES,
    fitting,
    named_files,
)

T = TypeVar("T")


class FakeFiles(Generic[T]):
    """Lists the files of a folder. Reads a file again only after it has changed."""

    def __init__(
        self,
        folder: Path | None,
        describe: Callable[[str, bytes], T],
        room: int,
        most: int = MAX_LISTED,
    ) -> None:
        """Args:

        folder: has the files; None for none.
        describe: what HELLO says of a file, from its name and its content.
        room: bytes that HELLO has for the list.
        most: how many the list may have.
        """
        self._folder = folder
        self._describe = describe
        self._room = room
        self._most = most
        self._known: dict[tuple[str, int, int], T] = {}

    def list(self) -> tuple[T, ...]:
        """What the folder has now."""
        if self._folder is None:
            return ()
        known, self._known = self._known, {}
        for name, path in named_files(self._folder).items():
            stat = path.stat()
            if stat.st_size == 0:  # somebody is still writing it
                continue
            key = (name, stat.st_mtime_ns, stat.st_size)
            self._known[key] = known.get(key) or self._describe(name, path.read_bytes())
        return fitting(self._known.values(), self._room, self._most)


def fake_loras(folder: Path | None) -> FakeFiles[Lora]:
    """LoRAs, whose trigger words are their text, except for a last line `preset NAME`."""
    return FakeFiles(folder, _lora, MAX_LISTED_BYTES)


def fake_embeddings(folder: Path | None) -> FakeFiles[Embedding]:
    """Embeddings with as many vectors as their text says, or one."""
    return FakeFiles(folder, _embedding, MAX_LISTED_EMBEDDING_BYTES)


def fake_controls(folder: Path | None) -> FakeFiles[Control]:
    """T2I-Adapters, whose text says so, and ControlNets."""
    return FakeFiles(folder, _control, MAX_LISTED_CONTROL_BYTES, MAX_LISTED_CONTROLS)


def fake_ip_adapters(folder: Path | None) -> FakeFiles[IpAdapter]:
    """IP-Adapters of as many tokens as their text says, or four."""
    return FakeFiles(folder, _ip_adapter, MAX_LISTED_CONTROL_BYTES, MAX_LISTED_CONTROLS)


def _lora(name: str, content: bytes) -> Lora:
    words = tuple(line[:100] for line in _text(content).splitlines()[:8])
    preset: str | UnsetType = UNSET
    if words and words[-1].startswith("preset "):
        words, preset = words[:-1], words[-1].removeprefix("preset ")
    digest = sha256(content).hexdigest()
    return Lora(name, digest, "lora", rank=4, trigger_words=words, preset=preset)


def _embedding(name: str, content: bytes) -> Embedding:
    return Embedding(name, sha256(content).hexdigest(), _number(content, 1))


def _control(name: str, content: bytes) -> Control:
    kind = "t2i-adapter" if _text(content).startswith("t2i-adapter") else "controlnet"
    return Control(name, sha256(content).hexdigest(), kind)


def _ip_adapter(name: str, content: bytes) -> IpAdapter:
    return IpAdapter(name, sha256(content).hexdigest(), _number(content, 4))


def _number(content: bytes, otherwise: int) -> int:
    text = _text(content)
    return max(1, int(text)) if text.isdecimal() and len(text) < 3 else otherwise


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
