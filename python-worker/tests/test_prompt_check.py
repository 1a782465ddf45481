"""Prompts of several chunks, weights and masks: what fits, and what is refused by name."""

from dataclasses import replace
from typing import Any

import pytest

from easel_worker.engine import Capabilities, InvalidRequest, Tokens
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Options
from easel_worker.specs import specs
from tests.support.samples import LENGTH, SMALL, generate, token_ids

CAN: Capabilities = FakeEngine(Options(sizes=(SMALL,), max_prompt_chunks=3)).capabilities
WEIGHTS = (1.0, 1.3) * LENGTH


def prompt(chunks: int = 2, **lists: Any) -> Tokens:
    return replace(token_ids(chunks=chunks), **lists)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": prompt(3)},
        {"prompt": prompt(3), "negative": prompt(3)},
        {"prompt": prompt(weights=WEIGHTS), "weighting": "a1111"},
        {"negative": prompt(1, weights_2=(0.5,) * LENGTH), "weighting": "a1111"},
        {
            "prompt": prompt(weights=WEIGHTS, masked=((1, 3), (3, 2 * LENGTH))),
            "weighting": "compel",
            "empty": token_ids(),
        },
        {
            "prompt": prompt(1, pooled_ids_2=(7,) * LENGTH),
            "weighting": "compel",
            "empty": token_ids(),
        },
    ],
)
def test_prompts_that_fit_become_the_specs(fields: dict[str, Any]) -> None:
    [spec] = specs(generate("a", **fields), CAN)
    assert {name: getattr(spec, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": prompt(4)}, "prompt has 4 chunks, but at most 3 are allowed now"),
        ({"prompt": prompt(2), "negative": prompt(1)}, "negative has 1 chunks and prompt has 2"),
        (
            {"prompt": Tokens((1,) * LENGTH, (1,) * 2 * LENGTH)},
            "prompt.ids has 1 chunks and ids_2 has 2",
        ),
        ({"prompt": prompt(weights=WEIGHTS)}, "weighting is missing: prompt has weights"),
        (
            {"prompt": prompt(weights=WEIGHTS[1:]), "weighting": "a1111"},
            "prompt.weights has 153 numbers for 154 ids",
        ),
        (
            {"prompt": prompt(1, weights_2=WEIGHTS), "weighting": "a1111"},
            "prompt.weights_2 has 154 numbers for 77 ids",
        ),
        (
            {"prompt": prompt(weights=WEIGHTS, masked=((1, 2),)), "weighting": "a1111"},
            "prompt.masked is only for weighting 'compel'",
        ),
        ({"prompt": prompt(weights=WEIGHTS), "weighting": "compel"}, "empty is missing"),
        (
            {"empty": token_ids(chunks=2), "weighting": "compel"},
            "empty.ids has 154 ids, not 77",
        ),
        (
            {"prompt": prompt(pooled_ids_2=(1,)), "weighting": "a1111"},
            "prompt.pooled_ids_2 has 1 ids, not 77",
        ),
        *(
            (
                {
                    "prompt": prompt(weights=WEIGHTS, masked_2=spans, weights_2=WEIGHTS),
                    "weighting": "compel",
                    "empty": token_ids(),
                },
                rf"prompt.masked_2 has \[{spans[-1][0]}, {spans[-1][1]}\): spans must be in order",
            )
            for spans in (((3, 3),), ((1, 5), (4, 6)), ((5, 6), (1, 2)), ((150, 155),))
        ),
        (
            {
                "prompt": prompt(weights=WEIGHTS, masked_2=((1, 2),)),
                "weighting": "compel",
                "empty": token_ids(),
            },
            "prompt.masked_2 needs the weights of the same encoder",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        specs(generate("a", **fields), CAN)


def test_a_worker_without_the_feature_refuses_weights() -> None:
    old = replace(CAN, features=())
    with pytest.raises(InvalidRequest, match="does not support prompt_weights"):
        specs(generate("a", weighting="a1111"), old)
    assert specs(generate("a", prompt=prompt(3)), old)
