"""Explains to the operator why a model could not be fetched."""

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
    """One line that says what failed and, if known, what to do about it.

    Args:
        error: raised by `hub.fetch`.
        model: the model to fetch.
        target: the folder to fetch it into.
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"the disk of {target.parent} is full: free some space and start again; the download "
            "resumes where it stopped"
        )
    if isinstance(error, GatedRepoError):
        return (
            f"{model.repository} requires accepting its terms: accept them at "
            f"{constants.ENDPOINT}/{model.repository}, then set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{constants.ENDPOINT} has no public model {model.repository}: check the name, or "
            "set HF_TOKEN if the model is private"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{model.repository} has no commit, tag or branch {model.revision}"
    if _is_unreachable(error):
        return (
            f"cannot reach {constants.ENDPOINT} ({_reason(error)}): check the network, or the "
            "proxy in HTTPS_PROXY. Without access to the hub, fetch the model on another machine "
            f"with `python -m easel_worker.fetch {model.repository}@{model.revision} "
            "--to FOLDER`, copy the folder here and set MODEL=FOLDER"
        )
    return " ".join(str(error).split())


def _is_unreachable(error: Exception) -> bool:
    """Whether the hub sent no answer.

    Compares class names, because the hub's client has changed its HTTP library before.
    """
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, OfflineModeIsEnabled) or "TransportError" in names


def _reason(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    text = " ".join(str(error).split())
    return text.partition("] ")[2] or text or type(error).__name__
