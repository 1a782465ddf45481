"""Sends requests with the official Python client of OpenAI, and prints a line of JSON for each."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openai import APIStatusError, OpenAI


def answers(client: OpenAI, image: Path, mask: Path) -> Iterator[dict[str, Any]]:
    """The answers to a request of each kind, by the client's types."""
    size: Any = "64x64"
    few = {"num_inference_steps": 4, "seed": 5}
    many = {"num_inference_steps": 20, "seed": 5}
    made = client.images.generate(
        prompt="a lighthouse", model="gpt-image-1", n=2, size=size, extra_body=few
    )
    yield made.model_dump()
    with client.images.generate(
        prompt="a lighthouse", size=size, stream=True, partial_images=2, extra_body=many
    ) as stream:
        for event in stream:
            yield {"type": event.type, "b64_json": event.b64_json}
    yield client.images.edit(
        image=image, mask=mask, prompt="a boat", size=size, extra_body=few
    ).model_dump()
    yield client.images.edit(
        image=[image.open("rb")], prompt="a boat", size=size, extra_body=few | {"strength": 0.5}
    ).model_dump()
    yield client.images.create_variation(
        image=image.open("rb"), n=1, size=size, response_format="b64_json", extra_body=few
    ).model_dump()
    try:
        client.images.generate(prompt="x", extra_body={"num_inference_steps": 9999})
    except APIStatusError as error:
        body: Any = error.body
        yield {"status": error.status_code, "error": body}


def main() -> None:
    """Arguments: the base URL, an image and a mask."""
    url, image, mask = sys.argv[1:]
    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    for answer in answers(client, Path(image), Path(mask)):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
