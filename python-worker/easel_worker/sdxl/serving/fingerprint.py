"""Everything that a compiled program depends on besides its own text."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from easel_worker import __version__
from easel_worker.sdxl.serving.compilation import TPU_OPTIONS

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

Fingerprint = dict[str, str]
"""Versions, flags and devices by name, readable so that differences can be shown."""


def fingerprint(devices: Sequence[jax.Device]) -> Fingerprint:
    """The fingerprint of programs that this process compiles for, or can run on, these devices."""
    first = devices[0]
    return {
        "easel": __version__,
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "libtpu": _libtpu() if first.platform == "tpu" else "not used",
        "flags": _flags() if first.platform == "tpu" else os.environ.get("XLA_FLAGS", ""),
        "platform": first.platform,
        "device": first.device_kind,
        "topology": _topology(devices),
    } | (_gpu(first) if first.platform == "gpu" else {})


def differences(made: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Readable differences between two fingerprints."""
    names = sorted(made.keys() | here.keys())
    return [
        f"{name} is {here.get(name)!r} here and was {made.get(name)!r}"
        for name in names
        if made.get(name) != here.get(name)
    ]


def digest(text: str) -> str:
    """SHA-256 (hex) of a program's text before compilation."""
    return hashlib.sha256(text.encode()).hexdigest()


def _libtpu() -> str:
    try:
        return version("libtpu")
    except PackageNotFoundError:
        return "of the system"


def _gpu(device: jax.Device) -> Fingerprint:
    """The versions of CUDA or ROCm, of cuDNN and of the driver."""
    try:
        cudnn = version("nvidia-cudnn-cu13")
    except PackageNotFoundError:
        cudnn = "of the system"
    try:
        driver = NVIDIA_DRIVER.read_text(encoding="utf-8").splitlines()[0]
    except OSError:
        driver = "unknown"
    return {"runtime": device.client.platform_version, "cudnn": cudnn, "driver": driver}


def _flags() -> str:
    """Flags for libtpu, without its dump flags: they change no program."""
    given = [f for f in os.environ.get("LIBTPU_INIT_ARGS", "").split() if "dump" not in f]
    return " ".join([*given, *(f"{name}={value}" for name, value in TPU_OPTIONS)])


def _topology(devices: Sequence[jax.Device]) -> str:
    """The devices' coordinates, or their number if they have none."""
    coordinates = [getattr(device, "coords", None) for device in devices]
    if None in coordinates:
        return f"{len(devices)} devices"
    return " ".join(",".join(map(str, at)) for at in coordinates if at is not None)
