"""A model on the Hugging Face hub, fetched into a folder: only the files that are read.

The folder appears complete or not at all: files are collected beside it, checked against the hub's
own digests, and moved into place together. A fetch that was cut off goes on where it stopped, also
inside of a file, which is why the files are not left to the hub's cache: it begins files anew.

The hub's own variables hold here, such as HF_ENDPOINT, HF_TOKEN and HTTPS_PROXY.
"""

import json
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from easel_worker.sdxl.folder.fetch_progress import ProgressLines

VARIANT = "fp16"
"""Weights are fetched in this precision where the model has it: half of the bytes."""

BRANCH = "main"
"""What is fetched where no revision is named."""

SOURCE = "source.json"
"""Beside the files: what was fetched."""

WEIGHED = ("text_encoder", "text_encoder_2", "unet", "vae")
_SMALL = re.compile(
    r"model_index\.json|easel\.json|scheduler/scheduler_config\.json"
    rf"|({'|'.join(WEIGHED)})/config\.json|tokenizer(_2)?/(\w+\.json|merges\.txt)"
)
_WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?"
)

Report = Callable[[str], None]


class HubError(ValueError):
    """A model cannot be fetched; the message says what to do."""


@dataclass(frozen=True)
class HubModel:
    """A model's name on the hub, and a commit, tag or branch of it."""

    repository: str
    revision: str

    @classmethod
    def parse(cls, text: str) -> "HubModel":
        """From `org/name` or `org/name@revision`.

        Raises:
            HubError: it is not of this form.
        """
        found = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", text)
        if found is None:
            raise HubError(
                f"{text!r} is no model on the hub: write org/name, or org/name@revision, the "
                "revision being a commit (or a tag or branch, which may mean another model "
                "tomorrow)"
            )
        return cls(found[1], found[2] or BRANCH)


def fetch(model: HubModel, target: Path, report: Report, endpoint: str | None = None) -> None:
    """Make a diffusers folder of a model, unless it is there.

    Args:
        model: which.
        target: the folder.
        report: called with readable lines.
        endpoint: the hub's address, if not that of HF_ENDPOINT.

    Raises:
        HubError: the model lacks something, the folder holds another one, or bytes are not those
            that the hub lists. Other errors come from the hub's client.
    """
    if target.exists():
        report(f"{target} is there already{_checked(model, target)}")
        return
    api = HfApi(endpoint=endpoint)
    commit = api.model_info(model.repository, revision=model.revision).sha
    tree = api.list_repo_tree(model.repository, recursive=True, revision=commit)
    listed = {file.path: file for file in tree if isinstance(file, RepoFile)}
    files = [listed[path] for path in choose(listed)]
    total = sum(file.size for file in files)
    report(f"{len(files)} files, {total / 1e9:.2f} GB, of {model.repository} at {commit}")
    if commit != model.revision:
        report(f"{model.repository}@{commit} stays this one; {model.revision} may not")
    unfinished = target.with_name(f"{target.name}.partial")
    _check_room(unfinished, files)
    for file in files:
        url = hf_hub_url(model.repository, file.path, revision=commit, endpoint=endpoint)
        _download(url, unfinished / file.path, file.size, partial(ProgressLines, report, file.path))
    _verify(api, model.repository, str(commit), unfinished)
    (unfinished / SOURCE).write_text(json.dumps({**asdict(model), "commit": commit}))
    unfinished.rename(target)
    report(f"{target} is complete, digests as listed")


def choose(paths: Collection[str]) -> list[str]:
    """Of all files of a repository those that gateway and worker read, the small ones first.

    Raises:
        HubError: a part has no weights.
    """
    small = sorted(path for path in paths if _SMALL.fullmatch(path))
    return small + [path for part in WEIGHED for path in _weights(part, paths)]


def _weights(part: str, paths: Collection[str]) -> list[str]:
    """One set of a part's weights, the variant's where there is one, with its index."""
    names = sorted(path.removeprefix(f"{part}/") for path in paths if path.startswith(f"{part}/"))
    mark = f".{VARIANT}"
    marked = [name for name in names if mark in name and _WEIGHTS.fullmatch(name.replace(mark, ""))]
    chosen = marked or [name for name in names if _WEIGHTS.fullmatch(name)]
    if not chosen:
        raise HubError(f"the model has no safetensors weights in {part}: choose one that has")
    return [f"{part}/{name}" for name in chosen]


def _checked(model: HubModel, target: Path) -> str:
    """What a folder says of its source, which is this model; nothing if it was put there by hand.

    Raises:
        HubError: it is another model.
    """
    record = target / SOURCE
    if not record.exists():
        return ""
    found = json.loads(record.read_text())
    revisions = (found.get("revision"), found.get("commit"))
    if found.get("repository") != model.repository or model.revision not in revisions:
        raise HubError(f"{target} holds {found}: choose another folder, or remove it")
    return f", {model.repository} at {found['commit']}"


def _check_room(folder: Path, files: Sequence[RepoFile]) -> None:
    """Raise unless the disk has room for what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file.path for file in files]
    there = sum(path.stat().st_size for path in paths if path.exists())
    missing, free = sum(file.size for file in files) - there, shutil.disk_usage(folder).free
    if missing > free:
        raise HubError(
            f"{missing / 1e9:.2f} GB are missing, and the disk of {folder.parent} has "
            f"{free / 1e9:.2f} GB free: make room and start again"
        )


def _download(url: str, path: Path, size: int, bar: Any) -> None:
    """The rest of a file, all of it where nothing is there. `bar` makes what shows progress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if file.tell() > size:
            file.truncate(0)
        http_get(
            url,
            file,
            resume_size=file.tell(),
            headers=build_hf_headers(),
            expected_size=size,
            tqdm_class=bar,
        )


def _verify(api: HfApi, repository: str, commit: str, folder: Path) -> None:
    """Compare all files with the digests that the hub lists; what is wrong is removed."""
    found = api.verify_repo_checksums(repository, revision=commit, local_dir=folder)
    wrong = [mismatch["path"] for mismatch in found.mismatches]
    for path in wrong:
        (folder / path).unlink()
    if wrong:
        raise HubError(f"{', '.join(wrong)}: not the bytes that the hub lists: start again")
