"""Fetches a model from the Hugging Face hub into a folder, once.

The folder appears complete or not at all: files are collected beside it, checked against the hub's
own digests, and moved into place together. A start that was cut off goes on where it stopped. Only
what the gateway and the worker read is fetched. Needs nothing but Python.
"""

import argparse
import hashlib
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TRIES = 6
TIMEOUT_S = 60
CHUNK = 1 << 20
SOURCE = "source.json"


class FetchError(Exception):
    """What went wrong, and what to do about it."""


class RemoteFile(NamedTuple):
    """A file as the hub lists it: `digest` is a SHA-256 for large files, git's SHA-1 for others."""

    path: str
    size: int
    digest: str
    large: bool


class Source(NamedTuple):
    """Which model, exactly: `revision` is a commit. `pause` is the seconds between two tries."""

    hub: str
    repository: str
    revision: str
    variant: str
    pause: float

    def url(self, path: str) -> str:
        """Where a file's content is."""
        return f"{self.hub}/{self.repository}/resolve/{self.revision}/{path}"

    def described(self) -> dict[str, str]:
        """What is written beside the files, to know them again."""
        return {
            "repository": self.repository,
            "revision": self.revision,
            "variant": self.variant,
        }


def main() -> None:
    """Fetch what the command line says; exit with 1 and one line if that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hub", default="https://huggingface.co", help="address of the hub")
    parser.add_argument("--repository", required=True, help="the model's name on the hub")
    parser.add_argument("--revision", required=True, help="commit to fetch")
    parser.add_argument("--variant", default="", help="weights to prefer, such as fp16")
    parser.add_argument("--pause", default=5, type=float, help="seconds between two tries")
    parser.add_argument("--target", required=True, type=Path, help="folder to make")
    args = parser.parse_args()
    source = Source(args.hub, args.repository, args.revision, args.variant, args.pause)
    try:
        fetch(source, args.target)
    except (FetchError, OSError) as error:
        sys.exit(f"fetch_weights: {error}")


def fetch(source: Source, target: Path) -> None:
    """Make `target` from the hub, unless it is there.

    Raises:
        FetchError: the hub refuses, or sends what it did not list, or `target` is another model.
    """
    if target.exists():
        check_same(source, target)
        print(f"{target} is there already", flush=True)
        return
    partial = target.with_name(f"{target.name}.partial")
    files = wanted(list(listing(source)), source)
    total = sum(file.size for file in files)
    print(f"{len(files)} files, {total / 1e9:.2f} GB, from {source.repository}", flush=True)
    for file in files:
        download(source, file, partial / file.path)
        print(f"{file.path}: {file.size / 1e6:.1f} MB, digest as listed", flush=True)
    (partial / SOURCE).write_text(json.dumps(source.described()))
    partial.rename(target)


def check_same(source: Source, target: Path) -> None:
    """Raise unless `target` was fetched from this very source, or put there by hand."""
    record = target / SOURCE
    if record.exists() and (found := json.loads(record.read_text())) != source.described():
        raise FetchError(f"{target} holds {found}: choose another --target, or remove it")


def listing(source: Source) -> Iterator[RemoteFile]:
    """Every file of the repository at the revision, over all pages of the hub's answer."""
    url = f"{source.hub}/api/models/{source.repository}/tree/{source.revision}?recursive=true"
    while url:
        with opened(url) as answer:
            for entry in json.load(answer):
                if entry["type"] == "file":
                    yield remote_file(entry)
            following = re.search(r'<([^>]+)>; *rel="next"', answer.headers.get("link", ""))
        url = following[1] if following else ""


def remote_file(entry: dict[str, Any]) -> RemoteFile:
    """A file from an entry of the hub's list."""
    large = entry.get("lfs")
    digest = large["oid"] if large else entry["oid"]
    return RemoteFile(entry["path"], entry["size"], digest, large is not None)


def wanted(files: list[RemoteFile], source: Source) -> list[RemoteFile]:
    """Of all files those that are read: settings, tokenizers, and one set of weights a part."""
    with opened(source.url("model_index.json")) as answer:
        index = json.load(answer)
    chosen = [file for file in files if file.path == "model_index.json"]
    for part in (name for name in index if re.fullmatch(r"[a-z]\w*", name)):
        inside = [file for file in files if re.fullmatch(rf"{part}/[\w.-]+", file.path)]
        chosen += [file for file in inside if re.search(r"/(\w+\.json|merges\.txt)$", file.path)]
        chosen += weights(inside, source.variant)
    return chosen


def weights(files: list[RemoteFile], variant: str) -> list[RemoteFile]:
    """One set of safetensors files, the variant's where there is one, with its index."""
    safe = [file for file in files if ".safetensors" in file.path]
    marked = [file for file in safe if f".{variant}." in file.path]
    plain = [file for file in safe if re.search(r"/[^.]+\.safetensors(\.index\.json)?$", file.path)]
    return marked or plain


def download(source: Source, file: RemoteFile, path: Path) -> None:
    """Get one file, going on where an earlier try stopped, and check its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for last in (*[False] * (TRIES - 1), True):
        try:
            append(source.url(file.path), path, file.size)
            break
        except (OSError, FetchError) as error:
            if last:
                raise FetchError(f"{file.path}: {error}, {TRIES} times over") from error
            time.sleep(source.pause)
    if digest_of(path, file.large) != file.digest:
        path.unlink()
        raise FetchError(f"{file.path} is not what the hub lists (wrong digest): start again")


def append(url: str, path: Path, size: int) -> None:
    """Read the rest of a file; raise `FetchError` if it ends early."""
    have = path.stat().st_size if path.exists() else 0
    if have == size and path.exists():
        return
    with opened(url, {"range": f"bytes={have}-"} if have else {}) as answer:
        mode = "ab" if answer.status == 206 else "wb"
        with path.open(mode) as out:
            while chunk := answer.read(CHUNK):
                out.write(chunk)
    if (got := path.stat().st_size) != size:
        if got > size:
            path.unlink()
        raise FetchError(f"{got} bytes of {size}")


def digest_of(path: Path, large: bool) -> str:
    """SHA-256 of a large file; git's name for the content of others."""
    digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def opened(url: str, headers: dict[str, str] | None = None) -> Any:
    """The hub's answer, to be closed by the caller.

    Raises:
        FetchError: it answers with an error; other failures of the network are OSErrors.
    """
    try:
        request = urllib.request.Request(url, headers=headers or {})
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url} answers {error.code} {error.reason}") from error


if __name__ == "__main__":
    main()
