"""A worker with the engine of MaxDiffusion as a process, over a real socket."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from easel_worker.exit_status import ExitStatus
from easel_worker.protocol import Cancel, Failed, Generate, Hello, Progress, Result
from tests.sdxl.test_maxdiffusion import UNET
from tests.sdxl.tiny_model import tokens, write
from tests.support.gateway import Gateway, gateway
from tests.support.maxdiffusion import STANDIN
from tests.support.process import worker
from tests.support.samples import generate

START_S = 300.0
"""Importing jax and compiling, on a machine that others use too; no answer may take longer."""

PROGRAMS = Path(__file__).parents[2] / ".cache" / "test-programs"
ARGUMENTS = ("--engine", "maxdiffusion", "--sizes", "16x8", "--max-prompt-chunks", "1")
ARGUMENTS += ("--image-inputs", "false", "--compile-cache", str(PROGRAMS))


@pytest.fixture(scope="module", name="model")
def _model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny"), UNET)


@pytest.fixture(scope="module", name="served")
def _served(
    model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Hello]]:
    folder = tmp_path_factory.mktemp("worker")
    own = (*ARGUMENTS, "--model", str(model), "--maxdiffusion", str(STANDIN))
    with gateway(f"ipc://{folder}/gw") as listening, worker(listening.endpoint, folder, *own):
        # No PING is sent, so the worker must not miss one.
        yield listening, listening.welcome(heartbeat_ms=START_S * 1000, patience_s=START_S)


def request(name: str, *seeds: int, **changes: Any) -> Generate:
    small = {"prompt": tokens("a red circle"), "width": 16, "height": 8}
    return generate(name, *seeds, **small, **changes)


def test_hello_names_the_unet(served: tuple[Gateway, Hello]) -> None:
    _, hello = served
    assert hello.model.dtype == "float32+maxdiffusion"
    assert (hello.limits.max_loras, hello.limits.max_controls) == (0, 0)


def test_progress_an_image_and_its_bytes_again(served: tuple[Gateway, Hello]) -> None:
    listening, _ = served
    made = []
    for name in ("once", "replayed"):
        listening.send("w1", request(name))
        result, before = listening.until(Result, lambda m, name=name: m.id == name, START_S)
        steps = [m.step for m in before if isinstance(m, Progress) and m.id == name]
        assert steps == [0, 1, 2, 3, 4, 4]
        made.append(bytes(result.pixels))
    assert made[0] == made[1]
    assert len(set(made[0])) > 1


def test_a_cancelled_request_frees_its_rows(served: tuple[Gateway, Hello]) -> None:
    listening, _ = served
    listening.send("w1", request("long", 1, 2, steps=100))
    begun = listening.until(Progress, lambda m: m.id == "long" and m.stage == "denoising", START_S)
    assert begun[0].step < 100
    listening.send("w1", Cancel("long"), request("next"))
    failed, _ = listening.until(Failed, patience_s=START_S)
    assert (failed.id, failed.code) == ("long", "cancelled")
    listening.until(Result, lambda m: m.id == "next", START_S)


def test_what_it_does_not_offer_is_refused(served: tuple[Gateway, Hello]) -> None:
    listening, _ = served
    listening.send("w1", request("cached", cache_interval=2))
    failed, _ = listening.until(Failed, patience_s=START_S)
    assert (failed.id, failed.code) == ("cached", "invalid")


@pytest.mark.parametrize("checkout", [None, "empty"])
def test_without_maxdiffusion_the_worker_says_what_to_set(
    model: Path, tmp_path: Path, checkout: str | None
) -> None:
    own = (*ARGUMENTS, "--model", str(model))
    if checkout is not None:
        (tmp_path / checkout).mkdir()
        own += ("--maxdiffusion", str(tmp_path / checkout))
    with worker(f"ipc://{tmp_path}/gw", tmp_path, *own) as ended:
        assert ended.exit_status(START_S) == ExitStatus.WRONG
        assert "MAXDIFFUSION" in ended.stderr()
        assert "a checkout of https://github.com/AI-Hypercomputer/maxdiffusion" in ended.stderr()
