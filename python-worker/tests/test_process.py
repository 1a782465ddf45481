"""The worker as a process, over a real socket."""

import base64
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from easel_worker.protocol import (
    Bye,
    Cancel,
    Drain,
    Failed,
    FromWorker,
    Heartbeat,
    Hello,
    NotFiniteTotals,
    Ping,
    Progress,
    Refused,
    Result,
    Welcome,
)
from tests.make_golden import goldens
from tests.support.gateway import Gateway, gateway
from tests.support.process import ROOT, Worker, worker
from tests.support.samples import generate, is_answer, with_pictures

ENDLESS = 1000  # steps of 5 ms: a request that ends only if it is made to
ARGUMENTS: tuple[str, ...] = ("--rows", "2", "--exit-with-parent", "--drain-grace", "10")
ARGUMENTS += ("--fake-faults", "raise:666@2,hang:13@1,exit:70@2")
GOLDENS = list(goldens())


@pytest.fixture(name="listening")
def _listening(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(f"ipc://{tmp_path}/gw") as listening:
        yield listening


@pytest.fixture(name="ready")
def _ready(listening: Gateway, tmp_path: Path) -> Iterator[Worker]:
    """A worker of two rows in a session; the seeds 666, 13 and 70 raise, hang and exit."""
    with worker(listening.endpoint, tmp_path, *ARGUMENTS) as ready:
        listening.welcome()
        yield ready


@pytest.fixture(name="long_lived", scope="module")
def _long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway of such a worker, shared by tests that leave it idle."""
    folder = tmp_path_factory.mktemp("shared")
    with (
        gateway(f"ipc://{folder}/gw") as listening,
        worker(listening.endpoint, folder, *ARGUMENTS) as ready,
    ):
        yield listening
        assert ready.running


@pytest.fixture(name="shared")
def _shared(long_lived: Gateway, request: pytest.FixtureRequest) -> Gateway:
    """The same in a new session, because no PING was sent while other tests ran."""
    session = request.node.name
    if long_lived.known:
        long_lived.reaches("w1", Ping(session))  # not if its session ended and it connects again
    long_lived.welcome(session)
    long_lived.expect(Heartbeat, lambda m: m.session == session)
    return long_lived


def about(messages: list[FromWorker], request: str) -> list[FromWorker]:
    return [message for message in messages if getattr(message, "id", None) == request]


def begin(listening: Gateway, request: str, seed: int = 1) -> None:
    """Start an endless request and wait until it takes steps."""
    listening.send("w1", generate(request, seed, steps=ENDLESS))
    listening.expect(Progress, lambda m: m.id == request and m.stage == "denoising")


def expect_answer(listening: Gateway, request: str) -> None:
    """Request an image and check it."""
    asked = generate(request, 5)
    listening.send("w1", asked)
    assert is_answer(listening.expect(Result, lambda m: m.id == request), asked)


def test_a_request_from_hello_to_result(listening: Gateway, tmp_path: Path) -> None:
    with worker(listening.endpoint, tmp_path) as process:
        hello = listening.welcome()
        assert (hello.worker, hello.protocol, hello.sizes) == ("w1", 1, ((64, 48), (32, 32)))
        assert listening.expect(Heartbeat).session == "s1"
        asked = generate("a", 1, 2, preview_every=2)
        listening.send("w1", asked)
        first, before = listening.until(Result)
        second, between = listening.until(Result)
        assert is_answer(first, asked)
        assert is_answer(second, asked)
        shown = [m.step for m in before if isinstance(m, Progress) and m.preview]
        assert shown == [2, 2]
        assert {m.stage for m in before + between if isinstance(m, Progress)} == {
            "encoding",
            "denoising",
            "decoding",
        }
        beat = listening.expect(Heartbeat, lambda m: m.steps_total == 4)
        assert (beat.rows_in_use, beat.queued) == (0, 0)
        assert process.wait_for_log("welcomed")["session"] == "s1"


def test_pictures_arrive_whole_and_count_the_steps_that_run(shared: Gateway) -> None:
    asked = with_pictures(generate("p", 5, steps=3, schedule_steps=9), "image", "mask")
    shared.send("w1", asked)
    result, before = shared.until(Result, lambda m: m.id == "p")
    assert is_answer(result, asked)
    assert {m.of for m in before if isinstance(m, Progress)} == {3}
    shared.send("w1", replace(asked, id="q", steps=10))
    failed = shared.expect(Failed, lambda m: m.id == "q")
    assert (failed.code, "schedule_steps is 9" in failed.message) == ("invalid", True)


def test_cancel_between_steps_and_in_the_queue(shared: Gateway) -> None:
    begin(shared, "running")
    shared.send("w1", generate("waiting"), Cancel("waiting"))
    assert shared.expect(Failed).code == "cancelled"
    shared.send("w1", Cancel("running"))
    assert shared.expect(Failed, lambda m: m.id == "running").code == "cancelled"
    shared.expect(Heartbeat, lambda m: (m.rows_in_use, m.queued) == (0, 0))
    expect_answer(shared, "next")


@pytest.mark.parametrize(
    ("stage", "flag"), [("encoding", "--fake-encode-ms"), ("decoding", "--fake-decode-ms")]
)
def test_cancel_in_a_stage(listening: Gateway, tmp_path: Path, stage: str, flag: str) -> None:
    with worker(listening.endpoint, tmp_path, flag, "1500"):
        listening.welcome()
        listening.send("w1", generate("a"))
        listening.expect(Progress, lambda m: m.stage == stage)
        listening.send("w1", Cancel("a"))
        failed, before = listening.until(Failed)
        assert (failed.id, failed.code) == ("a", "cancelled")
        assert about(before, "a") == []


def test_a_request_expires(shared: Gateway) -> None:
    shared.send("w1", generate("a", 1, steps=ENDLESS, timeout_ms=60.0))
    assert shared.expect(Failed).code == "expired"
    expect_answer(shared, "next")


def test_a_fault_fails_its_own_request(shared: Gateway) -> None:
    one, other = generate("guilty", 666, guidance=1.0), generate("innocent", 2, guidance=1.0)
    shared.send("w1", one, other)
    failed = shared.expect(Failed)
    assert (failed.id, failed.code) == ("guilty", "internal")
    assert is_answer(shared.expect(Result), other)


def test_a_start_logs_its_time_line(ready: Worker) -> None:
    line = ready.wait_for_log("ready after")
    names = [span["name"] for span in line["timeline"]]
    assert names == ["interpreter and imports", "engine and its imports"]
    assert all(0 <= span["start"] <= span["end"] for span in line["timeline"])


def test_heartbeats_have_the_sizes(shared: Gateway) -> None:
    assert shared.expect(Heartbeat).sizes == ((64, 48), (32, 32))


def test_heartbeats_show_a_hung_step(listening: Gateway, ready: Worker) -> None:
    listening.send("w1", generate("a", 13))
    beats = [listening.expect(Heartbeat, lambda m: m.rows_in_use == 2) for _ in range(3)]
    assert {beat.steps_total for beat in beats} == {0}
    assert ready.running


@pytest.mark.parametrize("stage", ["1", "decode"])
def test_a_hung_worker_ends_itself(listening: Gateway, tmp_path: Path, stage: str) -> None:
    arguments = ("--step-timeout", "1", "--fake-faults", f"hang:13@{stage}")
    with worker(listening.endpoint, tmp_path, *arguments) as process:
        listening.welcome()
        listening.send("w1", generate("a", 13))
        assert process.exit_status() == 6
        line = process.wait_for_log("the worker hangs")
        assert (line["level"], line["rows_in_use"]) == (60, 2)
        assert "_go_wrong" in line["stack"]


def test_a_fault_can_end_the_process(listening: Gateway, ready: Worker) -> None:
    listening.send("w1", generate("a", 70))
    assert ready.exit_status() == 70


def test_another_session_drops_requests_and_sends_hello(shared: Gateway) -> None:
    begin(shared, "old")
    shared.send("w1", generate("old and waiting"), Ping("s2"))
    shared.expect(Hello)
    shared.send("w1", generate("too early"), Welcome("s2", 50.0))
    asked = generate("new", 5)
    shared.send("w1", asked)
    result, before = shared.until(Result)
    assert is_answer(result, asked)
    assert {getattr(message, "id", "new") for message in before} == {"new"}
    assert {m.session for m in before if isinstance(m, Heartbeat)} <= {"s2"}


def test_garbage_is_dropped_and_logged_once(listening: Gateway, ready: Worker) -> None:
    to_us = [golden for golden in GOLDENS if golden["direction"] == "to-worker"]
    # (A ROUTER cannot send a message without frames.)
    bad = [golden for golden in to_us if not golden["valid"] and golden["frames"]]
    for golden in bad:
        listening.send_frames("w1", [base64.b64decode(frame) for frame in golden["frames"]])
    expect_answer(listening, "after the garbage")
    warnings = [line for line in ready.logs() if line["level"] >= 40]
    assert [line["msg"].partition(";")[0] for line in warnings] == ["dropped a bad message"]
    ready.signal(signal.SIGTERM)
    assert ready.exit_status() == 0
    assert ready.wait_for_log("transport closed")["bad"] == len(bad)


def test_drain_finishes_what_fits(listening: Gateway, ready: Worker) -> None:
    asked = generate("short", 1, steps=40)
    listening.send("w1", asked, generate("long", 2, steps=ENDLESS))
    listening.expect(Progress, lambda m: m.step == 2)
    listening.send("w1", Drain(3000.0), generate("late"))
    _, before = listening.until(Bye)
    failures = {m.id: m.code for m in before if isinstance(m, Failed)}
    assert failures == {"long": "draining", "late": "draining"}
    assert [is_answer(m, asked) for m in before if isinstance(m, Result)] == [True]
    assert ready.exit_status() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(listening: Gateway, ready: Worker, number: int) -> None:
    asked = generate("a", 1, steps=40)
    listening.send("w1", asked)
    listening.expect(Progress, lambda m: m.step == 2)
    ready.signal(number)
    _, before = listening.until(Bye)
    assert [is_answer(m, asked) for m in before if isinstance(m, Result)] == [True]
    assert ready.exit_status() == 0


def test_a_crash_in_native_code_writes_the_stacks(ready: Worker) -> None:
    ready.signal(signal.SIGSEGV)
    assert ready.exit_status() == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in ready.stderr()


def test_a_worker_without_a_gateway_exits_at_a_signal(tmp_path: Path) -> None:
    with worker(f"ipc://{tmp_path}/gw", tmp_path) as process:
        process.wait_for_log("ready, connecting")
        process.signal(signal.SIGTERM)
        assert process.exit_status() == 0


def test_a_second_signal_ends_a_hung_worker_at_once(listening: Gateway, ready: Worker) -> None:
    listening.send("w1", generate("a", 13))
    listening.expect(Heartbeat, lambda m: m.rows_in_use == 2)
    ready.signal(signal.SIGTERM)
    ready.wait_for_log("a second signal exits at once")
    ready.signal(signal.SIGTERM)
    assert ready.exit_status() == 128 + signal.SIGTERM


def test_a_closed_stdin_ends_a_hung_worker(listening: Gateway, ready: Worker) -> None:
    listening.send("w1", generate("a", 13))
    listening.expect(Heartbeat, lambda m: m.rows_in_use == 2)
    ready.close_stdin()
    assert ready.exit_status() == 0


@pytest.mark.parametrize("end", ["signal", "stdin"])
def test_a_signal_ends_a_worker_that_is_warming_up(tmp_path: Path, end: str) -> None:
    arguments = ("--fake-warm-ms", "600000", "--exit-with-parent")
    with worker(f"ipc://{tmp_path}/gw", tmp_path, *arguments) as process:
        process.wait_for_log("warming up")
        if end == "signal":
            process.signal(signal.SIGTERM)
        else:
            process.close_stdin()
        assert process.exit_status() == 0


@pytest.mark.parametrize("code", ["tokenizer", "model", "a_code_of_the_future"])
def test_a_refused_worker_says_why_and_exits_with_3(
    listening: Gateway, tmp_path: Path, code: str
) -> None:
    with worker(listening.endpoint, tmp_path) as process:
        listening.expect(Hello)
        listening.send("w1", Refused(code, "not as it should be"))
        assert process.exit_status() == 3
    line = fatal(process)
    assert line["msg"] == "refused by the gateway"
    assert (line["code"], line["reason"]) == (code, "not as it should be")


def test_a_worker_refused_by_a_gateway_of_another_version_exits(
    listening: Gateway, tmp_path: Path
) -> None:
    with worker(listening.endpoint, tmp_path) as process:
        listening.expect(Hello)
        reason = '{"code":"protocol","message":"this gateway speaks version 2"}'
        listening.send_frames("w1", [b"\x82\x02", reason.encode()])
        assert process.exit_status() == 3
    assert fatal(process)["reason"] == "this gateway speaks version 2"


def fatal(process: Worker) -> dict[str, Any]:
    """The only line above a warning in an ended worker's log: a fatal one."""
    (line,) = [line for line in process.logs() if line["level"] >= 50]
    assert line["level"] == 60
    return line


def test_too_little_memory_at_start_is_logged_in_one_line(tmp_path: Path) -> None:
    with worker(f"ipc://{tmp_path}/gw", tmp_path, "--fake-faults", "oom:warm") as process:
        assert process.exit_status() == 4
    assert "out of memory at start: serve fewer" in fatal(process)["msg"]
    assert "err" not in fatal(process)


def test_a_wrong_model_is_logged_in_one_line(tmp_path: Path) -> None:
    arguments = ("--model", str(tmp_path / "nothing"))
    with worker(f"ipc://{tmp_path}/gw", tmp_path, *arguments) as process:
        assert process.exit_status() == 7
    assert str(tmp_path / "nothing") in fatal(process)["msg"]
    assert "err" not in fatal(process)


def test_a_fault_at_start_is_logged_with_its_stack(tmp_path: Path) -> None:
    with worker(f"ipc://{tmp_path}/gw", tmp_path, "--fake-faults", "raise:warm") as process:
        assert process.exit_status() == 1
    assert fatal(process)["msg"] == "the engine did not start"
    assert "_go_wrong" in fatal(process)["err"]["stack"]


def test_a_model_that_is_not_finite_is_logged_at_the_start(tmp_path: Path) -> None:
    with worker(f"ipc://{tmp_path}/gw", tmp_path, "--fake-faults", "nan:warm") as process:
        assert process.exit_status() == 7
    assert "unet computes numbers that are not finite" in fatal(process)["msg"]


def test_an_image_that_is_not_finite_is_logged_once_and_counted(
    listening: Gateway, tmp_path: Path
) -> None:
    with worker(listening.endpoint, tmp_path, "--fake-faults", "nan:13@2") as process:
        listening.welcome()
        listening.send("w1", generate("a", 13), generate("b", 5))
        assert listening.expect(Failed).message.startswith("step 2 of 4 produced")
        listening.expect(Result, lambda m: m.id == "b")
        listening.expect(Heartbeat, lambda m: m.not_finite == NotFiniteTotals(0, 1, 0))
        lines = [line for line in process.logs() if "not finite" in line["msg"]]
        assert [(line["level"], line["stage"], line["image"]) for line in lines] == [
            (50, "denoise", 0)
        ]


def test_either_side_may_start_first_and_the_gateway_may_restart(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/gw"
    with worker(endpoint, tmp_path) as process:
        process.wait_for_log("ready, connecting")
        with gateway(endpoint) as first:
            first.welcome("s1")
            begin(first, "of the first gateway")
        with gateway(endpoint) as second:
            assert second.expect(Heartbeat).session == "s1"
            second.send("w1", Ping("s2"))
            second.welcome("s2")
            expect_answer(second, "of the second gateway")


def curve_keys(folder: Path, server_public: bytes) -> tuple[tuple[str, ...], bytes]:
    """A worker's options for a key pair of its own, and its public key."""
    public, secret = zmq.curve_keypair()
    secret_file = folder / "key"
    secret_file.write_bytes(secret)
    options = (
        "--curve-server-key",
        server_public.decode(),
        "--curve-secret-key",
        f"@{secret_file}",
    )
    return options, public


def test_tcp_with_curve_keys(tmp_path: Path) -> None:
    server_public, server_secret = zmq.curve_keypair()
    keys, _ = curve_keys(tmp_path, server_public)
    with (
        gateway("tcp://127.0.0.1:*", server_secret) as listening,
        worker(listening.endpoint, tmp_path, *keys),
    ):
        listening.welcome()
        expect_answer(listening, "a")


def test_a_worker_that_is_not_let_in_says_why_and_goes_on_trying(tmp_path: Path) -> None:
    server_public, server_secret = zmq.curve_keypair()
    other_public, _ = zmq.curve_keypair()
    wrong, _ = curve_keys(tmp_path, other_public)
    with gateway("tcp://127.0.0.1:*", server_secret) as listening:
        with worker(listening.endpoint, tmp_path, *wrong) as process:
            process.wait_for_log("--curve-server-key is not its public key")
        with worker(listening.endpoint, tmp_path) as process:
            process.wait_for_log("set --curve-server-key and --curve-secret-key")
        right, _ = curve_keys(tmp_path, server_public)
        with worker(listening.endpoint, tmp_path, *right) as process:
            listening.welcome()
            expect_answer(listening, "a")
            assert not [line for line in process.logs() if "handshake" in line["msg"]]


def test_a_worker_whose_key_the_gateway_does_not_know_says_which_to_add(tmp_path: Path) -> None:
    server_public, server_secret = zmq.curve_keypair()
    keys, worker_public = curve_keys(tmp_path, server_public)
    with (
        gateway("tcp://127.0.0.1:*", server_secret, worker_keys=[]) as listening,
        worker(listening.endpoint, tmp_path, *keys) as process,
    ):
        process.wait_for_log(f"CURVE_WORKER_KEYS: {worker_public.decode()}")


def test_neither_options_nor_the_fake_engine_import_jax() -> None:
    program = """
import sys
from easel_worker.process_options import load
from easel_worker.engines import ENGINES
import easel_worker.__main__
ENGINES["fake"].build(None, load(["--engine", "fake"], {}).of_engine, None)
load(["--engine", "sdxl", "--model", "m"], {})
sys.exit("jax" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
