"""Fetches a model from the Hugging Face hub into a folder: only the files that are read.

The folder appears complete or not at all: files are collected beside it, checked against the hub's
digests, and moved into place together. An interrupted fetch resumes, even inside a file. The hub's
own cache cannot do that: it restarts files.

The hub's environment variables apply, such as HF_ENDPOINT, HF_TOKEN and HTTPS_PROXY.
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
"""The preferred variant, half the size of full precision."""

BRANCH = "main"
"""The default revision."""

SOURCE = "source.json"
"""The file that records what was fetched."""

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
    """A model cannot be fetched. The message says what to do."""


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub, and a commit, tag or branch of it."""

    repository: str
    revision: str

    @classmethod
    def parse(cls, text: str) -> "HubModel":
        """From `org/name` or `org/name@revision`.

        Raises:
            HubError: the text has another form.
        """
        found = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", text)
        if found is None:
            raise HubError(
                f"{text!r} is not a model on the hub: write org/name or org/name@revision. Prefer "
                "a commit as revision, since tags and branches can move"
            )
        return cls(found[1], found[2] or BRANCH)


def fetch(model: HubModel, target: Path, report: Report, endpoint: str | None = None) -> None:
    """Fetch a model into a folder, unless the folder exists.

    Args:
        model: the model.
        target: the folder.
        report: called with log lines.
        endpoint: the hub's address; HF_ENDPOINT by default.

    Raises:
        HubError: the model lacks files, the folder holds another model, or a file does not have
            the digest that the hub lists. Other errors come from the hub's client.
    """
    if target.exists():
        report(f"{target} exists{_checked(model, target)}")
        return
    api = HfApi(endpoint=endpoint)
    commit = api.model_info(model.repository, revision=model.revision).sha
    tree = api.list_repo_tree(model.repository, recursive=True, revision=commit)
    listed = {file.path: file for file in tree if isinstance(file, RepoFile)}
    files = [listed[path] for path in choose(listed)]
    total = sum(file.size for file in files)
    report(f"{len(files)} files, {total / 1e9:.2f} GB, of {model.repository} at {commit}")
    if commit != model.revision:
        report(f"use {model.repository}@{commit} to pin this version; {model.revision} can move")
    unfinished = target.with_name(f"{target.name}.partial")
    _check_room(unfinished, files)
    for file in files:
        url = hf_hub_url(model.repository, file.path, revision=commit, endpoint=endpoint)
        _download(url, unfinished / file.path, file.size, partial(ProgressLines, report, file.path))
    _verify(api, model.repository, str(commit), unfinished)
    (unfinished / SOURCE).write_text(json.dumps({**asdict(model), "commit": commit}))
    unfinished.rename(target)
    report(f"{target} is complete; all digests match")


def choose(paths: Collection[str]) -> list[str]:
    """Selects the files that gateway and worker read, the small ones first.

    Raises:
        HubError: a component has no weights.
    """
    small = sorted(path for path in paths if _SMALL.fullmatch(path))
    return small + [path for part in WEIGHED for path in _weights(part, paths)]


def _weights(part: str, paths: Collection[str]) -> list[str]:
    """One set of a component's weights with its index; the variant's if there is one."""
    names = sorted(path.removeprefix(f"{part}/") for path in paths if path.startswith(f"{part}/"))
    mark = f".{VARIANT}"
    marked = [name for name in names if mark in name and _WEIGHTS.fullmatch(name.replace(mark, ""))]
    chosen = marked or [name for name in names if _WEIGHTS.fullmatch(name)]
    if not chosen:
        raise HubError(f"the model has no safetensors weights in {part}: choose another model")
    return [f"{part}/{name}" for name in chosen]


def _checked(model: HubModel, target: Path) -> str:
    """The source that a folder records, for the log. Empty for a folder that was made by hand.

    Raises:
        HubError: the folder holds another model.
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
    """Raise if the disk lacks space for the remaining bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file.path for file in files]
    there = sum(path.stat().st_size for path in paths if path.exists())
    missing, free = sum(file.size for file in files) - there, shutil.disk_usage(folder).free
    if missing > free:
        raise HubError(
            f"{missing / 1e9:.2f} GB remain to be fetched, and the disk of {folder.parent} has "
            f"{free / 1e9:.2f} GB free: free some space and start again"
        )


def _download(url: str, path: Path, size: int, bar: Any) -> None:
    """Download the part of a file that is not on disk yet. `bar` makes the progress reporter."""
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
    """Compare all files with the digests that the hub lists, and remove those that differ."""
    found = api.verify_repo_checksums(repository, revision=commit, local_dir=folder)
    wrong = [mismatch["path"] for mismatch in found.mismatches]
    for path in wrong:
        (folder / path).unlink()
    if wrong:
        raise HubError(
            f"{', '.join(wrong)}: does not match the digest that the hub lists: start again"
        )
