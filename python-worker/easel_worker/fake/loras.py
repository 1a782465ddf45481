"""The fake engine's LoRAs: any files, known by their digests; their text is the trigger words."""

from hashlib import sha256
from pathlib import Path

from easel_worker.engine import Lora
from easel_worker.listed_files import fitting, named_files


class FakeLoras:
    """Lists the LoRAs of a folder. Reads a file again only after it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, int, int], Lora] = {}

    def list(self) -> tuple[Lora, ...]:
        """The LoRAs that the folder has now."""
        known, self._known = self._known, {}
        for name, path in named_files(self._folder).items():
            stat = path.stat()
            key = (name, stat.st_mtime_ns, stat.st_size)
            self._known[key] = known.get(key) or _read(name, path)
        return fitting(self._known.values())


def _read(name: str, path: Path) -> Lora:
    content = path.read_bytes()
    lines = content.decode("utf-8", "replace").splitlines()[:8]
    words = tuple(line[:100] for line in lines)
    return Lora(name, sha256(content).hexdigest(), "lora", rank=4, trigger_words=words)
