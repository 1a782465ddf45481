"""The memory of encoded prompts."""

from easel_worker.engine import Tokens
from easel_worker.sdxl.serving.programs import Prompt
from easel_worker.sdxl.serving.prompts import PromptCache

A, B, C = (Tokens((i,), (i,)) for i in range(3))


class Encoder:
    """Counts what it encodes."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tokens, int]] = []

    def __call__(self, tokens: Tokens, skip: int) -> Prompt:
        self.calls.append((tokens, skip))
        return Prompt(None, None)  # type: ignore[arg-type]


def test_a_prompt_is_encoded_once_for_each_clip_skip() -> None:
    encoder = Encoder()
    cache = PromptCache(encoder, capacity=4)
    first = cache.encode(A, 0)
    assert cache.encode(A, 0) is first
    cache.encode(A, 1)
    assert encoder.calls == [(A, 0), (A, 1)]


def test_the_one_unused_for_longest_is_forgotten() -> None:
    encoder = Encoder()
    cache = PromptCache(encoder, capacity=2)
    for tokens in (A, B, A, C, A, B):
        cache.encode(tokens, 0)
    assert [tokens for tokens, _ in encoder.calls] == [A, B, C, B]
