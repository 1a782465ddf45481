"""Makes batches with the official Python client of OpenAI, and prints a line of JSON for each answer."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from openai import APIStatusError, OpenAI
from openai.types import Batch

ENDPOINT = "/v1/images/generations"
ENDS = {"completed", "failed", "expired", "cancelled"}


def lines(count: int, steps: int) -> bytes:
    """The requests of a batch."""
    bodies = (
        {"prompt": f"picture {index}", "num_inference_steps": steps, "seed": index}
        for index in range(count)
    )
    requests = (
        {"custom_id": f"request-{index}", "method": "POST", "url": ENDPOINT, "body": body}
        for index, body in enumerate(bodies)
    )
    return "\n".join(json.dumps(request) for request in requests).encode()


def ended(client: OpenAI, batch: Batch) -> Batch:
    """The batch, once it has ended."""
    while batch.status not in ENDS:
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


def create(client: OpenAI, content: bytes) -> Batch:
    """A batch of these lines."""
    file = client.files.create(
        file=("requests.jsonl", content),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    endpoint: Any = ENDPOINT
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,
        completion_window="24h",
        metadata={"made": "by a test"},
    )


def answers(client: OpenAI) -> Iterator[dict[str, Any]]:
    """What the client gets, by its types."""
    batch = ended(client, create(client, lines(5, steps=2)))
    yield batch.model_dump()
    assert batch.output_file_id is not None
    yield {"output": client.files.content(batch.output_file_id).text}
    slow = create(client, lines(200, steps=1000))
    client.batches.cancel(slow.id)
    yield ended(client, slow).model_dump()
    yield {"batches": [each.id for each in client.batches.list(limit=1)]}
    yield {"files": [each.purpose for each in client.files.list(limit=2)]}
    yield client.files.delete(batch.output_file_id).model_dump()
    yield ended(client, create(client, b"{")).model_dump()
    try:
        client.files.content(batch.output_file_id)
    except APIStatusError as error:
        yield {"status": error.status_code, "code": error.code}


def main() -> None:
    """Argument: the base URL."""
    client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
    for answer in answers(client):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
