"""Checks the embeddings of a request."""

from msgspec import UNSET

from easel_worker.engine import Capabilities, EmbeddingUse, InvalidRequest, Parameters


def check_embeddings(wanted: Parameters, capabilities: Capabilities) -> None:
    """Check that the embeddings are here and that their ids do not overlap.

    An embedding is its file: one that was replaced since the request was accepted is another.

    Raises:
        InvalidRequest: an embedding does not fit; the text names it.
    """
    used = embeddings_of(wanted)
    if len({use.name for use in used}) < len(used):
        raise InvalidRequest("embeddings names one embedding twice")
    known = {each.name: each for each in capabilities.embeddings}
    taken = 0
    for use in sorted(used, key=lambda use: use.first_id):
        here = known.get(use.name)
        if here is None or here.digest != use.digest:
            now = "it is gone" if here is None else f"its digest is {here.digest}"
            raise InvalidRequest(
                f"the embedding {use.name} with digest {use.digest} is not here: {now}"
            )
        if use.first_id < taken:
            raise InvalidRequest(f"the ids of the embedding {use.name} are also another one's")
        taken = use.first_id + here.vectors


def embeddings_of(wanted: Parameters) -> tuple[EmbeddingUse, ...]:
    """The embeddings of a request, by name."""
    return () if wanted.embeddings is UNSET else tuple(sorted(wanted.embeddings))
