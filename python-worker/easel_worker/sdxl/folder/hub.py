"""Fetches a model from the Hugging Face hub into a folder: only the files that are read.

The folder appears complete or not at all: files are collected beside it, checked against the hub's
digests, and moved into place together. An interrupted fetch resumes, even inside a file. The hub's
own cache cannot do that: it restarts files.

The hub's environment variables apply, such as HF_ENDPOINT, HF_TOKEN and HTTPS_PROXY.
"""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from easel_worker.sdxl.folder.fetch_progress import ProgressLines
from easel_worker.sdxl.folder.header import Header, TensorInfo
from easel_worker.sdxl.folder.hub_files import HubError, missing_file, small_files, weights_files

BRANCH = "main"
"""The default revision."""

SOURCE = "source.json"
"""The file that records what was fetched."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub, or one file of it, at a commit, tag or branch."""

    repository: str
    revision: str
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubModel":
        """From `org/name` or `org/name/file.safetensors`, with or without `@revision`.

        Raises:
            HubError: the text has another form.
        """
        found = re.fullmatch(
            r"(\w[\w.-]*/\w[\w.-]*)(?:/([\w./ -]+\.safetensors))?(?:@([\w./-]+))?", text
        )
        if found is None:
            raise HubError(
                f"{text!r} is not a model on the hub: write org/name or "
                "org/name/file.safetensors, and @revision after it. Prefer a commit as revision, "
                "since tags and branches can move"
            )
        return cls(found[1], found[3] or BRANCH, found[2])


def fetch(
    model: HubModel,
    target: Path,
    report: Report,
    endpoint: str | None = None,
    *,
    component: str | None = None,
) -> None:
    """Fetch a model into a folder, unless the folder exists.

    Checks the small files before downloading weights, and the header of a single file before the
    rest of it.

    Args:
        model: the model.
        target: the folder.
        report: called with log lines.
        endpoint: the hub's address; HF_ENDPOINT by default.
        component: "vae" or "unet" to fetch only it, else None.

    Raises:
        HubError: the model lacks files, the folder holds another model, or a file does not have
            the digest that the hub lists.
        ValueError: the model is not supported. Other errors come from the hub's client.
    """
    if target.exists():
        report(f"{target} exists{_checked(model, component, target)}")
        return
    # Importing this takes the seconds that jax does.
    from easel_worker.sdxl.folder.checks import check_header, check_small_files  # noqa: PLC0415

    api = HfApi(endpoint=endpoint)
    commit = str(api.model_info(model.repository, revision=model.revision).sha)
    tree = api.list_repo_tree(model.repository, recursive=True, revision=commit)
    listed = {file.path: file for file in tree if isinstance(file, RepoFile)}
    if model.file is None:
        small, weights = small_files(listed, component), weights_files(listed, component)
    elif model.file in listed:
        small, weights = [], [model.file]
        if component is None:
            check_header(f"{model.repository}/{model.file}", _header(api, model, commit))
    else:
        raise missing_file(listed, model.file)
    files = [listed[path] for path in (*small, *weights)]
    total = sum(file.size for file in files)
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    report(f"{count}, {total / 1e9:.2f} GB, of {model.repository} at {commit}")
    if commit != model.revision:
        report(f"use {model.repository}@{commit} to pin this version; {model.revision} can move")
    unfinished = target.with_name(f"{target.name}.partial")
    _check_room(unfinished, files)

    def download(paths: Sequence[str]) -> None:
        for path in paths:
            url = hf_hub_url(model.repository, path, revision=commit, endpoint=endpoint)
            bar = partial(ProgressLines, report, path)
            _download(url, unfinished / path, listed[path].size, bar)

    download(small)
    if small:
        check_small_files(unfinished, component)
    download(weights)
    _verify(api, model.repository, commit, unfinished)
    if model.file is not None:
        (unfinished / model.file).rename(unfinished / Path(model.file).name)
    record = {**asdict(model), "component": component, "commit": commit}
    (unfinished / SOURCE).write_text(json.dumps(record))
    unfinished.rename(target)
    report(f"{target} is complete; all digests match")


def _header(api: HfApi, model: HubModel, commit: str) -> Header:
    """Fetch the header of a single file."""
    file = str(model.file)
    found = api.parse_safetensors_file_metadata(model.repository, file, revision=commit)
    tensors = {
        name: TensorInfo(tuple(info.shape), info.dtype, info.data_offsets[0])
        for name, info in found.tensors.items()
    }
    return Header(tensors, found.metadata, end=0)


def _checked(model: HubModel, component: str | None, target: Path) -> str:
    """The source that a folder records, for the log. Empty for a folder that was made by hand.

    Raises:
        HubError: the folder holds another model.
    """
    record = target / SOURCE
    if not record.exists():
        return ""
    found = json.loads(record.read_text())
    revisions = (found.get("revision"), found.get("commit"))
    wanted = (model.repository, model.file, component)
    same = tuple(found.get(key) for key in ("repository", "file", "component")) == wanted
    if not same or model.revision not in revisions:
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
