"""Options come from flags, then the environment, then defaults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from easel_worker import parse
from easel_worker.engines import ENGINES
from easel_worker.fake.options import Fault, StepTime
from easel_worker.options import Option, declared
from easel_worker.process_options import ProcessOptions, load

FAKE = ["--engine", "fake"]
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> str:
    """The text on stderr for wrong options."""
    with pytest.raises(SystemExit) as caught:
        load(arguments, environment)
    assert caught.value.code == 2
    return capsys.readouterr().err


SDXL_SIZES = (
    (1024, 1024),
    (1152, 896),
    (896, 1152),
    (1216, 832),
    (832, 1216),
    (1344, 768),
    (768, 1344),
    (1536, 640),
    (640, 1536),
)


def test_sdxl_stands_for_its_usual_sizes() -> None:
    assert parse.sizes("sdxl") == SDXL_SIZES
    assert parse.sizes("512x512, sdxl,1024x1024") == ((512, 512), *SDXL_SIZES)
    for width, height in SDXL_SIZES:
        assert 0.9 < width * height / 1024**2 < 1.01
        assert width % 64 == height % 64 == 0


def test_defaults() -> None:
    options = load(FAKE, {})
    assert options.connect == "ipc:///tmp/easel.sock"
    assert (options.of_engine.rows, options.of_engine.sizes) == (8, ((1024, 1024), (512, 512)))
    assert options.name.rpartition("-")[2].isdecimal()


def test_a_flag_overrides_the_environment_which_overrides_the_default() -> None:
    environment = {"ENGINE": "fake", "ROWS": "4", "DRAIN_GRACE": "7.5", "LOG_LEVEL": ""}
    options = load(["--rows", "2"], environment)
    assert (options.engine, options.of_engine.rows, options.drain_grace_s) == ("fake", 2, 7.5)
    assert options.log_level == "info"


def test_values_are_parsed() -> None:
    flags = ["--sizes", "1024x768, 512x512,512x512", "--model", "m"]
    options = load(
        [*FAKE, "--exit-with-parent", *flags],
        {
            "FAKE_FAULTS": "raise:13@2, oom:warm ,exit:1@decode,hang:0@encode",
            "FAKE_STEP_TIMES": "64x48=5+0.5, 32x32=1+0",
        },
    )
    assert options.of_engine.sizes == ((1024, 768), (512, 512))
    assert options.model == Path("m")
    assert options.exit_with_parent is True
    assert options.of_engine.fake_step_times == (
        ((64, 48), StepTime(5, 0.5)),
        ((32, 32), StepTime(1, 0)),
    )
    assert options.of_engine.fake_faults == (
        Fault("raise", "2", 13),
        Fault("oom", "warm"),
        Fault("exit", "decode", 1),
        Fault("hang", "encode", 0),
    )


def test_an_engine_gets_its_own_options() -> None:
    flags = ["--batch-lanes", "1,4", "--fake-step-ms", "7", "--rows", "3", "--split-guidance"]
    sdxl = load(["--engine", "sdxl", "--model", "m", *flags], {"VAE_TILE": "512"}).of_engine
    assert (sdxl.batch_lanes, sdxl.rows, sdxl.vae_tile) == ((1, 4), 3, 512)
    assert sdxl.split_guidance is True
    fake = load([*FAKE, *flags], {"VAE_TILE": "512"}).of_engine
    assert (fake.fake_step_ms, fake.rows) == (7, 3)


def test_another_engine_is_a_package_and_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclass(frozen=True)
    class Options:
        dtype: Annotated[str, Option(parse.choice("float8"), "as it computes")] = "float8"
        big_steps: Annotated[int, Option(parse.positive, "a thing of its own")] = 3

        def __post_init__(self) -> None:
            if self.big_steps == 4:
                raise ValueError("big_steps is 4")

    monkeypatch.setitem(ENGINES, "fake", ENGINES["fake"]._replace(options=Options))
    assert load(FAKE, {"DTYPE": "float8", "BIG_STEPS": "2"}).of_engine == Options("float8", 2)
    assert "--dtype: must be one of float8" in refusal(capsys, *FAKE, "--dtype", "float32")
    assert "easel-worker: big_steps is 4" in refusal(capsys, *FAKE, "--big-steps", "4")


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("true", True), ("0", False), ("no", False)]
)
def test_switches_in_the_environment(text: str, value: bool) -> None:
    assert load(FAKE, {"EXIT_WITH_PARENT": text}).exit_with_parent is value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0"], "--rows: must be 1 or more"),
        (["--rows", "many"], "--rows: invalid literal"),
        (["--sizes", "1024"], "--sizes: '1024' is not a size"),
        (["--sizes", "sd15"], "nor a set of sizes (sdxl)"),
        (["--sizes", "0x64"], "--sizes: '0x64' is not a size"),
        (["--engine", "magic"], "--engine: must be one of sdxl, fake"),
        (["--connect", "inproc://x"], "--connect: must be ipc://PATH or tcp://HOST:PORT"),
        (["--connect", "ipc://" + "x" * 108], "at most 107 bytes"),
        (["--fake-step-ms", "-1"], "--fake-step-ms: must be 0 or more"),
        (["--fake-step-ms", "nan"], "--fake-step-ms: must be 0 or more"),
        (["--fake-step-times", "64x64=5"], "'64x64=5' must look like"),
        (["--fake-step-times", "64x64=5+-1"], "must be 0 or more"),
        (["--fake-faults", "sneeze:1@1"], "'sneeze' is not a fault"),
        (["--fake-faults", "raise:1"], "'raise:1' must look like"),
        (["--exit-with-parent", "maybe"], "--exit-with-parent: must be true or false"),
        (["--engine", "sdxl"], "needs --model or MODEL"),
        (["--dtype", "float16"], "--dtype: must be one of auto, bfloat16, float32"),
        (["--vae-tile", "-1"], "--vae-tile: must be 0 or more"),
        (["--engine", "sdxl", "--model", "m", "--fake-step-ms", "-1"], "--fake-step-ms: must be"),
        (["--curve-secret-key", "@/no/such/file"], "No such file"),
        (["--curve-server-key", KEY[:-1]], "must be a key of 40 characters"),
        (["--curve-server-key", KEY[:-1] + "~"], "must be a key of 40 characters"),
        (["--curve-secret-key", ("@/" + KEY)[:40]], "No such file"),
        (["--curve-server-key", "--name", "a"], "expected one argument"),
        (["--connect", "-h", "a"], "expected one argument"),
        (["--name", ""], "--name: must have 1 to 255 bytes"),
        (["--model-name", "a b"], "--model-name: must have 1 to 128 characters of A-Z"),
        (["--row", "4"], "unrecognized arguments"),
    ],
)
def test_wrong_options_are_named(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refusal(capsys, *FAKE, *arguments)


def test_a_wrong_variable_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ROWS: must be 1 or more" in refusal(capsys, *FAKE, ROWS="0")


def test_tcp_beyond_loopback_needs_keys(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    endpoint = [*FAKE, "--connect", "tcp://10.0.0.7:5555"]
    assert "would be unencrypted" in refusal(capsys, *endpoint)
    assert "or neither" in refusal(capsys, *endpoint, "--curve-server-key", KEY)
    secret = tmp_path / "key"
    secret.write_text(KEY + "\n")
    options = load([*endpoint, "--curve-server-key", KEY, "--curve-secret-key", f"@{secret}"], {})
    assert options.curve_secret_key == KEY
    assert "curve_secret_key" not in repr(options)


@pytest.mark.parametrize("first", Z85)
def test_a_key_may_begin_with_any_of_its_characters(first: str, tmp_path: Path) -> None:
    key = first + KEY[1:]
    secret = tmp_path / "key"
    secret.write_text(key)
    given = ["--curve-server-key", key, "--curve-secret-key", f"@{secret}"]
    options = load([*FAKE, *given], {})
    assert (options.curve_server_key, options.curve_secret_key) == (key, key)
    environment = {"EASEL_CURVE_SERVER_KEY": key, "EASEL_CURVE_SECRET_KEY": key}
    assert load(FAKE, environment).curve_server_key == key


def test_an_existing_file_is_read_even_if_its_name_looks_like_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "k" * 39
    Path(name).write_text(KEY)
    keys = ["--curve-server-key", f"@{name}", "--curve-secret-key", f"@{name}"]
    assert load([*FAKE, *keys], {}).curve_server_key == KEY


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_needs_no_keys(host: str) -> None:
    assert load([*FAKE, "--connect", f"tcp://{host}:5555"], {}).curve_secret_key is None


def test_a_wrong_secret_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "hunter2" not in refusal(capsys, *FAKE, "--curve-secret-key", "hunter2")


def test_the_help_lists_every_flag_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(["--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for kind in (ProcessOptions, *(engine.options for engine in ENGINES.values())):
        for setting in declared(kind):
            assert setting.flag in text
            assert f"[{setting.env}]" in text
