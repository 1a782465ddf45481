"""Why a model could not be fetched, in words for whoever started it."""

import errno
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from easel_worker.sdxl.folder.hub import HubModel

_FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: Exception, model: HubModel, target: Path) -> str:
    """One line that says what failed, and what to do about it where that is known.

    Args:
        error: what fetching raised.
        model: what was to be fetched.
        target: the folder that it was to be fetched into.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"the disk of {target.parent} is full: make room and start again; it goes on where it "
            "stopped"
        )
    if isinstance(error, GatedRepoError):
        return (
            f"{model.repository} is for those who accepted its terms: accept them at "
            f"{constants.ENDPOINT}/{model.repository}, then set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{constants.ENDPOINT} has no model {model.repository}, or not for everybody: check "
            "the name; a private model needs HF_TOKEN"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{model.repository} has no commit, tag or branch {model.revision}"
    if _is_unreachable(error):
        return (
            f"cannot reach {constants.ENDPOINT} ({_reason(error)}): check the network, or the "
            "proxy in HTTPS_PROXY. A machine without the hub takes a folder: fetch it on another "
            f"one with `python -m easel_worker.fetch {model.repository}@{model.revision} "
            "--to FOLDER`, bring it here and set MODEL=FOLDER"
        )
    return " ".join(str(error).split())


def _is_unreachable(error: Exception) -> bool:
    """Whether no answer came at all.

    By name: the hub's client has changed its HTTP library before, and that is not ours to import.
    """
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, OfflineModeIsEnabled) or "TransportError" in names


def _reason(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    text = " ".join(str(error).split())
    return text.partition("] ")[2] or text or type(error).__name__
