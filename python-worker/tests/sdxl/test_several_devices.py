"""Images of every kind on two devices, beside those that one device makes alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from easel_worker.engine import ControlUse, IpAdapterUse, LoraUse
from easel_worker.protocol import PictureForm
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.ip_adapters.files import FILES, picture
from parity.loras.files import ATTENTION, LoraFile, shapes_of
from tests.sdxl import tiny_nets
from tests.sdxl.engines import start
from tests.sdxl.test_company import REFINED
from tests.sdxl.tiny_model import SIZES, write, write_refiner
from tests.support.company import Company, Repertoire
from tests.support.samples import generate, with_pictures

INK = LoraFile("ink", layers=ATTENTION, alpha=2.0)


def write_everything(folder: Path) -> dict[str, Path]:
    """Write a model with all that requests can name; returns the options that name it."""
    model = write(folder / "model", unet=tiny_nets.UNET)
    loras = folder / "loras"
    loras.mkdir()
    INK.write(loras, shapes_of(model))
    for file in FILES:
        file.write(folder / "adapters", load_config(model).unet)
    return {
        "model": model,
        "loras": loras,
        "refiner": write_refiner(folder / "refiner"),
        "controlnets": tiny_nets.write_nets(folder / "nets"),
        "ip_adapters": folder / "adapters",
    }


def asked(
    engine: SdxlEngine, *roles: str, adapter: str = "", lora: bool = False, **more: Any
) -> dict[str, Any]:
    """The fields of a request.

    Args:
        engine: has the files that it names.
        roles: its pictures: `image`, `mask`, and the names of nets.
        adapter: the name of its IP-Adapter, if it has one.
        lora: whether it has one.
        more: further fields.
    """
    can = engine.capabilities
    nets = {each.name: each.digest for each in can.controls}
    width, height = SIZES[0]
    kinds = ["control" if role in nets else role for role in roles]
    request = with_pictures(generate("r", width=width, height=height), *kinds)
    named: dict[str, Any] = {
        "pictures": request.pictures,
        "frames": request.frames,
        "controls": tuple(
            ControlUse(role, nets[role], 0.7, 0.0, 0.8) for role in roles if role in nets
        ),
        "loras": tuple(LoraUse(each.name, each.digest, 0.8, 0.5) for each in can.loras if lora),
    }
    if adapter:
        [digest] = (each.digest for each in can.ip_adapters if each.name == adapter)
        frame = memoryview(picture(1, width=20, height=30).tobytes())
        named["ip_adapters"] = (IpAdapterUse(adapter, digest, 0.8),)
        named["pictures"] = (*request.pictures, PictureForm("ip_adapter", 20, 30, 3))
        named["frames"] = (*request.frames, frame)
    return {key: value for key, value in named.items() if value} | more


def repertoire(engine: SdxlEngine) -> Repertoire:
    """Images with each of them, with several, and with a refiner."""
    return replace(
        REFINED,
        schedulers=REFINED.schedulers[::3],
        steps=(6,),
        kinds=40,
        savings=(
            {},
            {"denoising_end": 0.5},
            asked(engine, "canny"),
            asked(engine, "depth", "sketch", denoising_end=0.6),
            asked(engine, adapter="plain", lora=True),
            asked(engine, adapter="plus", denoising_end=0.5),
            asked(engine, "grey", "canny", adapter="plain", lora=True, denoising_end=0.6),
            asked(engine, "image", "canny", lora=True, schedule_steps=8, denoising_end=0.6),
            asked(engine, "image", "mask", "sketch", adapter="plus", schedule_steps=8),
        ),
    )


def test_two_devices_make_the_bytes_of_one(tmp_path: Path) -> None:
    files = write_everything(tmp_path)
    options = {"more_schedulers": True, "image_inputs": True}
    one = start(**files, rows=5, **options)
    two = start(**files, rows=8, devices=jax.devices()[:2], **options)
    company = Company(two, repertoire(one), alone=one)
    for seed in range(9000, 9016):
        company.play(seed)
    assert company.tally.wrong == []
    assert company.tally.images > 40
