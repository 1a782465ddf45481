"""Validators from protocol/messages.schema.json."""

import json
from typing import Any

import jsonschema

from easel_worker.protocol import FROM_GATEWAY, FROM_WORKER
from tests.make_golden import FOLDER

SCHEMA = json.loads((FOLDER.parent / "messages.schema.json").read_text())


def validator(kind: str) -> Any:
    """Return the validator of one kind of message, by its name on the wire."""
    return jsonschema.Draft202012Validator(SCHEMA | {"$ref": f"#/$defs/{kind}"})


VALIDATORS = {
    kind: validator(message.__name__.upper())
    for kind, message in (FROM_GATEWAY | FROM_WORKER).items()
}
"""Validators by kind byte."""
