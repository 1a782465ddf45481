"""The engine with IP-Adapters on the smallest model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from easel_worker.compile.plan import compile_all, read
from easel_worker.engine import (
    IP_ADAPTERS,
    ControlUse,
    ImageSpec,
    InvalidRequest,
    IpAdapterUse,
    Picture,
    ProgramInfo,
)
from easel_worker.protocol import PictureForm
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.serving.compilation import Program
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity.ip_adapters.files import FILES, PLAIN, picture
from parity.pipeline.ours import difference
from tests.sdxl import tiny_nets
from tests.sdxl.engines import ahead, start
from tests.sdxl.test_company import OF_ONE_SIZE
from tests.sdxl.test_engine import counted_compilations, make
from tests.sdxl.tiny_model import spec, tokens, write
from tests.support.company import Company
from tests.support.samples import generate, spec_of, with_pictures


def write_adapters(model: Path, folder: Path) -> Path:
    for file in FILES:
        file.write(folder, load_config(model).unet)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(model, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def engine(model: Path, adapters: Path) -> SdxlEngine:
    return start(model, ahead(), rows=5, ip_adapters=adapters)


def use(engine: SdxlEngine, name: str, scale: float) -> IpAdapterUse:
    digests = {each.name: each.digest for each in engine.capabilities.ip_adapters}
    return IpAdapterUse(name, digests[name], scale)


def with_adapter(engine: SdxlEngine, name: str, scale: float = 1.0, **changes: Any) -> ImageSpec:
    pictures = (Picture("", picture(1)),)
    return replace(
        spec(**changes),
        ip_adapters=(use(engine, name, scale),),
        ip_adapter_pictures=pictures,
    )


def test_offers_the_adapters_of_the_folder(engine: SdxlEngine) -> None:
    can = engine.capabilities
    assert IP_ADAPTERS in can.features
    assert [(each.name, each.tokens) for each in can.ip_adapters] == [("plain", 4), ("plus", 6)]
    assert len({each.digest for each in can.ip_adapters}) == 2
    conditioned = [each.name for each in can.programs if "conditioned" in each.name]
    assert conditioned == [
        "denoise 16x8 guided conditioned x1",
        "denoise 16x8 unguided conditioned x1",
    ]


def test_a_worker_without_the_option_has_no_program_for_them(
    engine: SdxlEngine, model: Path
) -> None:
    plain = start(model)
    names = [each.name for each in plain.capabilities.programs]
    with_adapters = [each.name for each in engine.capabilities.programs]
    assert [name for name in names if name not in with_adapters] == []
    assert names == with_adapters[: len(names)]
    assert not any("picture" in name or "conditioned" in name for name in names)
    assert plain.capabilities.ip_adapters == ()


class Named:
    """Compiles nothing, and keeps the names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def compile(self, name: str, function: Any, _: tuple[Any, ...], __: Any) -> Program:
        self.names.append(name)
        return Program(ProgramInfo(name, 0.0, cached=False), function)


def test_easel_compile_compiles_the_same_programs(
    engine: SdxlEngine, model: Path, adapters: Path
) -> None:
    least = {"sizes": [], "max_prompt_chunks": 1, "image_inputs": False}
    options = Options(devices=jax.devices()[:1], rows=5, ip_adapters=adapters, **least)
    compiler: Any = Named()
    compile_all(read(model, options, only=False), compiler)
    assert compiler.names == [each.name for each in engine.capabilities.programs]


def test_the_picture_the_adapter_and_the_scale_decide_the_image(engine: SdxlEngine) -> None:
    one = with_adapter(engine, "plain")
    other = replace(one, ip_adapter_pictures=(Picture("", picture(2)),))
    weaker = with_adapter(engine, "plain", 0.5)
    wanted = (one, other, weaker, with_adapter(engine, "plus"), spec())
    made = {make(engine, each).tobytes() for each in wanted}
    assert len(made) == len(wanted)
    assert make(engine, one).tobytes() in made


def requests(engine: SdxlEngine) -> tuple[dict[str, Any], ...]:
    """What a request says for each adapter, with pictures of other sizes."""
    made = []
    for name, scale, size in (
        ("plain", 1.0, (53, 37)),
        ("plus", 0.6, (20, 90)),
        ("plus", 0.0, (7, 7)),
    ):
        width, height = size
        frame = memoryview(picture(width, width=width, height=height).tobytes())
        form = PictureForm("ip_adapter", width, height, 3)
        uses = (use(engine, name, scale),)
        made.append({"ip_adapters": uses, "pictures": (form,), "frames": (frame,)})
    return tuple(made)


def test_images_have_the_bytes_that_they_have_alone(engine: SdxlEngine) -> None:
    """Those with adapters of either kind and those without take turns; nothing is compiled."""
    plain, plus, weak = requests(engine)
    repertoire = replace(
        OF_ONE_SIZE,
        savings=({}, {}, plain, plus, weak, {**plain, "guidance_end": 0.5}),
    )
    company = Company(engine, repertoire)
    with counted_compilations() as seen:
        for seed in range(6000, 6060):
            company.play(seed)
    assert company.tally.wrong == []
    assert company.tally.images > 200
    assert seen == []


def test_images_with_nets_and_images_with_adapters_share_programs(tmp_path: Path) -> None:
    """One has what the other has not as zeros, which add nothing."""
    model = write(tmp_path / "model", unet=tiny_nets.UNET)
    nets = tiny_nets.write_nets(tmp_path / "nets")
    own = write_adapters(model, tmp_path / "adapters")
    both = start(model, rows=5, controlnets=nets, ip_adapters=own)
    alone = start(model, rows=5, controlnets=nets), start(model, rows=5, ip_adapters=own)
    listed = {each.name: each.digest for each in both.capabilities.controls}
    size = {"controls": (ControlUse("canny", listed["canny"], 0.7),)}
    request = with_pictures(generate("r", width=16, height=8), "control")
    controlled = {"pictures": request.pictures, "frames": request.frames, **size}
    plain, plus, weak = requests(both)
    together = {
        **plain,
        **size,
        "pictures": (*request.pictures, *plain["pictures"]),
        "frames": (*request.frames, *plain["frames"]),
    }
    savings = ({}, controlled, plain, plus, weak, together)
    company = Company(both, replace(OF_ONE_SIZE, savings=savings))
    for seed in range(7000, 7020):
        company.play(seed)
    assert company.tally.wrong == []
    assert company.tally.images > 60
    for engine, fields in zip(alone, (controlled, plus), strict=True):
        spec = spec_of(generate("r", prompt=tokens("fox"), width=16, height=8, **fields), 1)
        assert difference(make(engine, spec), make(both, spec)) <= 1


def test_on_several_devices(engine: SdxlEngine, model: Path, adapters: Path) -> None:
    """Where the keys and values of prompts are computed in each step."""
    four = start(model, rows=16, ip_adapters=adapters, devices=jax.devices()[:4])
    plain, plus, _ = requests(engine)
    company = Company(four, replace(OF_ONE_SIZE, savings=({}, plain, plus)), alone=engine)
    for seed in range(8000, 8010):
        company.play(seed)
    assert company.tally.wrong == []
    assert company.tally.images > 30


def test_cached_steps_are_refused(model: Path, adapters: Path) -> None:
    caching = start(model, ip_adapters=adapters, max_cache_interval=2)
    with pytest.raises(InvalidRequest, match="cache_interval is 2: an image with controls or ip"):
        caching.start(with_adapter(caching, "plain", cache_interval=2))


def test_another_file_of_the_same_name_is_refused(engine: SdxlEngine) -> None:
    gone = replace(use(engine, "plain", 1.0), digest="0" * 64)
    wanted = replace(with_adapter(engine, "plain"), ip_adapters=(gone,))
    with pytest.raises(InvalidRequest, match="the IP-Adapter plain with digest 000"):
        engine.start(wanted)


def test_8_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave out IP_ADAPTERS, or set QUANTIZATION to none"):
        Options(ip_adapters=tmp_path, quantization="int8")


def test_an_adapter_that_is_not_finite_withholds_only_itself(model: Path, tmp_path: Path) -> None:
    write_adapters(model, tmp_path)
    folder = tmp_path / PLAIN.name
    weights = folder / "image_encoder/model.safetensors"
    tensors = load_file(weights)
    tensors["visual_projection.weight"] = np.full_like(tensors["visual_projection.weight"], np.nan)
    save_file(tensors, weights)
    said: list[str] = []
    can = start(model, report=said.append, ip_adapters=tmp_path).capabilities
    assert IP_ADAPTERS in can.features
    assert [each.name for each in can.ip_adapters] == ["plus"]
    (line,) = (line for line in said if "not offered" in line)
    assert "the IP-Adapter plain is not offered: it makes numbers that are not finite" in line


def test_a_folder_without_adapters_offers_nothing_and_says_so(model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "ip-adapter_sdxl.bin").write_bytes(b"")
    empty = start(model, report=said.append, ip_adapters=tmp_path)
    assert IP_ADAPTERS not in empty.capabilities.features
    assert any("has no IP-Adapter that can be used" in line for line in said)
