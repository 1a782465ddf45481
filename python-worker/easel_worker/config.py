"""The worker's settings: the only reader of the environment and the command line.

Every option is declared once, in `Config`, with its flag, its environment variable, its default and
its help; `--help` and the parsing derive from that. A flag wins over the variable, which wins over
the default.
"""

import argparse
import dataclasses
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints
from urllib.parse import urlsplit

from easel_worker import options
from easel_worker.fake.engine import Fault, StepTime
from easel_worker.logs import LEVELS, SILENT

DTYPES = ("auto", "bfloat16", "float32")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
USAGE = 2


class ConfigError(ValueError):
    """A setting is wrong; the text names the flag or the variable, and says what to do."""


class Option(NamedTuple):
    """How a setting is given and parsed."""

    flag: str
    env: str
    parse: Callable[[str], Any]
    help: str


@dataclass(frozen=True)
class Config:
    """All settings, parsed and checked."""

    connect: Annotated[
        str,
        Option(
            "--connect",
            "EASEL_CONNECT",
            options.endpoint,
            "where the gateway listens: ipc://PATH, or tcp://HOST:PORT with CURVE keys",
        ),
    ] = "ipc:///tmp/easel.sock"

    name: Annotated[
        str,
        Option(
            "--name",
            "EASEL_WORKER_NAME",
            options.worker_name,
            "the worker's name, unique among its gateway's (default: host name and process id)",
        ),
    ] = ""

    engine: Annotated[
        str,
        Option(
            "--engine",
            "ENGINE",
            options.choice("sdxl", "fake"),
            "sdxl makes images; fake makes pictures that tests can compute, without a model",
        ),
    ] = "sdxl"

    model: Annotated[
        Path | None,
        Option(
            "--model",
            "MODEL",
            Path,
            "a standard diffusers folder; the fake engine takes only its tokenizers' identity",
        ),
    ] = None

    dtype: Annotated[
        str,
        Option(
            "--dtype",
            "DTYPE",
            options.choice(*DTYPES),
            "what the model computes in: auto (bfloat16; float32 on CPUs), bfloat16 or float32",
        ),
    ] = "auto"

    vae_dtype: Annotated[
        str,
        Option(
            "--vae-dtype",
            "VAE_DTYPE",
            options.choice(*DTYPES),
            "what the model's VAE computes in: auto is as the rest of the model",
        ),
    ] = "auto"

    vae_tile: Annotated[
        int,
        Option(
            "--vae-tile",
            "VAE_TILE",
            options.count,
            "decode images in overlapping tiles of so many pixels a side, as diffusers' "
            "enable_tiling does: less memory at once, and a picture that is nearly the same; "
            "0 decodes all at once",
        ),
    ] = 0

    quantization: Annotated[
        str,
        Option(
            "--quantization",
            "QUANTIZATION",
            options.choice("none", "int8"),
            "int8 computes the UNet's linear layers in 8 bits, which changes images a little; "
            "it needs a calibration",
        ),
    ] = "none"

    calibration: Annotated[
        Path | None,
        Option(
            "--calibration",
            "CALIBRATION",
            Path,
            "the calibration for int8, as `npm run calibrate` makes it (default: the file "
            "int8_calibration.safetensors in the model's folder)",
        ),
    ] = None

    sizes: Annotated[
        tuple[tuple[int, int], ...] | None,
        Option(
            "--sizes",
            "SIZES",
            options.sizes,
            "sizes to serve, such as 1024x1024,512x512 (default: those that the model names)",
        ),
    ] = None

    rows: Annotated[
        int | None,
        Option(
            "--rows",
            "ROWS",
            options.positive,
            "how many rows one denoising step holds; a guided image takes two (default: 32, "
            "for each device)",
        ),
    ] = None

    batch_lanes: Annotated[
        tuple[int, ...],
        Option(
            "--batch-lanes",
            "BATCH_LANES",
            options.counts,
            "how many images a device computes in one call, such as 1,2,4, a program for each; "
            "with several counts an image's last bits may depend on how many others there are",
        ),
    ] = (1,)

    split_guidance: Annotated[
        bool,
        Option(
            "--split-guidance",
            "SPLIT_GUIDANCE",
            options.switch,
            "two devices share a guided image, which halves its time but not the time of many",
        ),
    ] = False

    max_cache_interval: Annotated[
        int,
        Option(
            "--max-cache-interval",
            "MAX_CACHE_INTERVAL",
            options.positive,
            "the most that a request's cache_interval may be; above 1 more programs are compiled, "
            "and an image in flight holds more memory",
        ),
    ] = 1

    methods: Annotated[
        str,
        Option(
            "--methods",
            "METHODS",
            options.choice("auto", "plain", "fast"),
            "how the heavy parts are computed: plain JAX, fast for TPUs (kernels of our own, not "
            "yet run on one), or auto (fast on TPUs)",
        ),
    ] = "auto"

    artifacts: Annotated[
        Path | None,
        Option(
            "--artifacts",
            "ARTIFACTS",
            Path,
            "a folder of programs that easel-compile made ahead; those that do not fit are "
            "compiled anew, and the log says why",
        ),
    ] = None

    compile_cache: Annotated[
        Path | None,
        Option(
            "--compile-cache",
            "COMPILE_CACHE",
            Path,
            "a folder that keeps compiled programs from one start to the next",
        ),
    ] = None

    drain_grace_s: Annotated[
        float,
        Option(
            "--drain-grace",
            "DRAIN_GRACE",
            options.duration,
            "seconds that running images may take after SIGTERM; a second signal exits at once",
        ),
    ] = 20.0

    step_timeout_s: Annotated[
        float,
        Option(
            "--step-timeout",
            "STEP_TIMEOUT",
            options.duration,
            "seconds without progress, while rows are in use, after which the worker takes itself "
            "for hung and exits with 6; 0 is never",
        ),
    ] = 120.0

    exit_with_parent: Annotated[
        bool,
        Option(
            "--exit-with-parent",
            "EXIT_WITH_PARENT",
            options.switch,
            "exit when standard input closes, and on Linux when the process that started it dies: "
            "for a worker that the gateway starts",
        ),
    ] = False

    log_level: Annotated[
        str,
        Option(
            "--log-level",
            "LOG_LEVEL",
            options.choice(*LEVELS, SILENT),
            "the lowest level that is logged: " + ", ".join((*LEVELS, SILENT)),
        ),
    ] = "info"

    curve_server_key: Annotated[
        str | None,
        Option(
            "--curve-server-key",
            "EASEL_CURVE_SERVER_KEY",
            options.curve_key,
            "the gateway's public CURVE key (Z85), or @FILE",
        ),
    ] = None

    curve_secret_key: Annotated[
        str | None,
        Option(
            "--curve-secret-key",
            "EASEL_CURVE_SECRET_KEY",
            options.curve_key,
            "the worker's own secret CURVE key, as @FILE; its public key follows from it",
        ),
    ] = dataclasses.field(default=None, repr=False)

    fake_step_ms: Annotated[
        float,
        Option(
            "--fake-step-ms",
            "FAKE_STEP_MS",
            options.duration,
            "fake engine: how long a denoising step takes",
        ),
    ] = 5.0

    fake_step_times: Annotated[
        tuple[tuple[tuple[int, int], StepTime], ...],
        Option(
            "--fake-step-times",
            "FAKE_STEP_TIMES",
            options.step_times,
            "fake engine: how long a step takes by size, as WIDTHxHEIGHT=FIXED+ROW joined by "
            "commas: a fixed part and one for each row; other sizes take --fake-step-ms",
        ),
    ] = ()

    fake_encode_ms: Annotated[
        float,
        Option(
            "--fake-encode-ms",
            "FAKE_ENCODE_MS",
            options.duration,
            "fake engine: how long encoding a prompt takes",
        ),
    ] = 1.0

    fake_decode_ms: Annotated[
        float,
        Option(
            "--fake-decode-ms",
            "FAKE_DECODE_MS",
            options.duration,
            "fake engine: how long decoding an image takes",
        ),
    ] = 1.0

    fake_warm_ms: Annotated[
        float,
        Option(
            "--fake-warm-ms",
            "FAKE_WARM_MS",
            options.duration,
            "fake engine: how long loading takes before the worker is ready",
        ),
    ] = 0.0

    fake_faults: Annotated[
        tuple[Fault, ...],
        Option(
            "--fake-faults",
            "FAKE_FAULTS",
            options.faults,
            "fake engine: faults by seed, as KIND:SEED@STAGE or KIND:warm, joined by commas; KIND "
            "is raise, oom, invalid, exit, hang or nan; STAGE is encode, decode or a step from 1",
        ),
    ] = ()

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{socket.gethostname()}-{os.getpid()}"[:255])
        if (self.curve_server_key is None) != (self.curve_secret_key is None):
            raise ConfigError("--curve-server-key and --curve-secret-key go together")
        if _exposed(self.connect) and self.curve_server_key is None:
            raise ConfigError(
                f"--connect {self.connect} could be read by others: set --curve-server-key and "
                "--curve-secret-key, or use ipc:// or a loopback address"
            )
        if self.engine == "sdxl" and self.model is None:
            raise ConfigError("the sdxl engine needs --model or MODEL: a diffusers folder")


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """The settings from a command line (without the program's name) and an environment.

    An environment variable that is set to nothing counts as not set.

    Raises:
        SystemExit: 0 after `--help`; 2, with a line on stderr, if a setting is wrong.
    """
    known = _options()
    parser = _parser(known)
    flags = vars(parser.parse_args(_joined(known, arguments)))
    try:
        return Config(**_values(known, flags, environment))
    except ConfigError as error:
        parser.exit(USAGE, f"{parser.prog}: {error}\n")


def _joined(known: dict[str, Option], arguments: Sequence[str]) -> list[str]:
    """The arguments with `--flag value` as `--flag=value` where the value begins with `-`.

    argparse takes such a value for a flag; a CURVE key may well begin so.
    """
    flags = {option.flag for option in known.values()} | {"-h", "--help"}
    takers = {option.flag for option in known.values() if option.parse is not options.switch}
    joined: list[str] = []
    for argument in arguments:
        value = argument.startswith("-") and argument.partition("=")[0] not in flags
        if value and joined and joined[-1] in takers:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _values(
    known: dict[str, Option], flags: Mapping[str, str | None], environment: Mapping[str, str]
) -> dict[str, Any]:
    values = {}
    for name, option in known.items():
        if (flag := flags[name]) is not None:
            values[name] = _parse(option, option.flag, flag)
        elif variable := environment.get(option.env):
            values[name] = _parse(option, option.env, variable)
    return values


def _parse(option: Option, source: str, value: str) -> Any:
    try:
        return option.parse(value)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _options() -> dict[str, Option]:
    """The options by the names of their fields."""
    hints = get_type_hints(Config, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def _parser(known: dict[str, Option]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="easel-worker",
        description="Holds a model on the accelerator and makes images for an Easel gateway.",
        epilog="A flag wins over its environment variable. Exit status: 0 drained, 1 failed, "
        "2 wrong usage, 3 refused by the gateway, 4 out of memory at start, 5 engine broken, "
        "6 hung.",
        allow_abbrev=False,
    )
    for field in dataclasses.fields(Config):
        option = known[field.name]
        text = f"{option.help} [{option.env}]"
        if field.default not in (None, "", (), False):
            text += f" (default: {_shown(field.default)})"
        flag: dict[str, Any] = (
            {"nargs": "?", "const": "true"} if option.parse is options.switch else {}
        )
        metavar = "BOOL" if flag else option.flag.rpartition("-")[2].upper()
        parser.add_argument(
            option.flag, dest=field.name, help=text.replace("%", "%%"), metavar=metavar, **flag
        )
    return parser


def _shown(default: object) -> str:
    """A default as it would be written."""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _exposed(endpoint: str) -> bool:
    """Whether the traffic leaves the machine."""
    address = urlsplit(endpoint)
    return address.scheme == "tcp" and address.netloc.rpartition(":")[0] not in LOOPBACK
