"""Images that follow pictures by the operator's ControlNets and T2I-Adapters."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from easel_worker.calibrate.images import calibrate
from easel_worker.compile.plan import compile_all, read
from easel_worker.engine import ControlUse, InvalidRequest, Picture, ProgramInfo
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.control_files import ControlFiles, find_controls
from easel_worker.sdxl.folder.weights import load
from easel_worker.sdxl.model.t2i_adapter import _halve
from easel_worker.sdxl.quantization import calibration
from easel_worker.sdxl.samplers.sampler import offered
from easel_worker.sdxl.serving.compilation import Program
from easel_worker.sdxl.serving.control_programs import _added
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from easel_worker.values import Size
from parity import original_layout
from parity.controls import files
from parity.pipeline.cases import SDXL_SCHEDULER
from tests.sdxl import tiny_nets
from tests.sdxl.engines import ahead, start
from tests.sdxl.test_engine import counted_compilations, make
from tests.sdxl.tiny_model import SIZES, long, spec, tokens, write
from tests.support.company import Company, Repertoire
from tests.support.samples import generate, with_pictures


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model"), unet=tiny_nets.UNET)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_nets.write_nets(tmp_path_factory.mktemp("nets"))


@pytest.fixture(scope="module")
def engine(model: Path, nets: Path) -> SdxlEngine:
    return start(model, controlnets=nets, rows=5)


def use(engine: SdxlEngine, name: str, *numbers: float) -> ControlUse:
    listed = {each.name: each for each in engine.capabilities.controls}
    return ControlUse(name, listed[name].digest, *(numbers or (1.0,)))


def fields(engine: SdxlEngine, *uses: ControlUse, image: str = "", **more: Any) -> dict[str, Any]:
    """The fields of a request with these controls, of the first size."""
    width, height = SIZES[0]
    roles = [*image.split(), *["control"] * len(uses)]
    request = with_pictures(generate("r", width=width, height=height), *roles)
    return {"controls": uses, "pictures": request.pictures, "frames": request.frames, **more}


def repertoire(engine: SdxlEngine, *, pictures: bool = True) -> Repertoire:
    canny, depth, plain = (use(engine, name, 0.7) for name in ("canny", "depth", "plain"))
    late, early = replace(canny, start=0.4), replace(depth, end=0.5)
    sketch, grey = use(engine, "sketch", 1.0, 0.0, 0.5), use(engine, "grey", 0.4)
    begun = (
        fields(engine, late, image="image", schedule_steps=6),
        fields(engine, early, plain, image="image mask"),
    )
    return Repertoire(
        prompts=[tokens(text) for text in ("", "a red circle", "a blue square", "blurry")],
        sizes=SIZES[:1],
        schedulers=offered(SDXL_SCHEDULER),
        savings=(
            {},
            {},
            fields(engine, canny),
            fields(engine, early, late, guidance_end=0.5),
            fields(engine, plain, canny),
            fields(engine, sketch),
            fields(engine, grey, sketch, guidance_end=0.5),
            fields(engine, sketch, depth),
            *(begun if pictures else ()),
        ),
    )


def test_hello_lists_the_nets(engine: SdxlEngine, nets: Path) -> None:
    can = engine.capabilities
    assert [(each.name, each.kind) for each in can.controls] == [
        ("canny", "controlnet"),
        ("depth", "controlnet"),
        ("grey", "t2i-adapter"),
        ("plain", "controlnet"),
        ("sketch", "t2i-adapter"),
    ]
    assert len({each.digest for each in can.controls}) == 5
    assert "controls" in can.features
    assert can.limits.max_controls == 2


def test_nets_of_one_architecture_share_their_programs(engine: SdxlEngine) -> None:
    names = [program.name for program in engine.capabilities.programs]
    assert sum(name.startswith("control 16x8 guided x1") for name in names) == 2
    assert sum(name.startswith("control picture 16x8") for name in names) == 4
    assert sum(" conditioned " in name for name in names) == 2


def test_without_nets_there_is_nothing_more(model: Path, tmp_path: Path) -> None:
    (tmp_path / "union").mkdir()
    (tmp_path / "union" / "config.json").write_text('{"_class_name": "ControlNetUnionModel"}')
    lines: list[str] = []
    empty = start(model, report=lines.append, controlnets=tmp_path)
    plain = start(model)
    can = empty.capabilities
    assert [each.name for each in can.programs] == [e.name for e in plain.capabilities.programs]
    assert ("controls" in can.features, can.controls, can.limits.max_controls) == (False, (), 0)
    (left_out,) = (line for line in lines if "union" in line)
    assert "it is a ControlNet Union, which is not supported" in left_out
    assert any("has no ControlNet or T2I-Adapter that can be used" in line for line in lines)


def test_controlled_and_plain_images_join_and_leave(model: Path, nets: Path) -> None:
    """All kinds of images, in one company: none changes another, and nothing is compiled."""
    options = {"max_cache_interval": 2, "more_schedulers": True, "image_inputs": True}
    serving = start(model, ahead(), rows=5, controlnets=nets, **options)
    company = Company(serving, repertoire(serving))
    with counted_compilations() as seen:
        for seed in range(40):
            company.play(seed)
    assert company.tally.wrong == []
    assert company.tally.images > 100
    assert seen == []


@pytest.mark.parametrize("split", [False, True])
def test_on_four_devices(engine: SdxlEngine, model: Path, nets: Path, split: bool) -> None:
    devices = jax.devices()[:4]
    options = {"split_guidance": split, "more_schedulers": True}
    alone = start(model, controlnets=nets, rows=5, more_schedulers=True)
    four = start(model, controlnets=nets, rows=16, devices=devices, **options)
    # Two rows on one device may round otherwise than a row on each of two.
    played = repertoire(engine, pictures=False)
    company = Company(four, played, alone=alone, tolerance=1 if split else 0)
    for seed in range(1000, 1008):
        company.play(seed)
    assert company.tally.wrong == []
    assert company.tally.images > 20


def control(engine: SdxlEngine, *uses: ControlUse, **changes: Any) -> Any:
    """An image's spec with controls, each with a picture of its own."""
    width, height = SIZES[0]
    rng = np.random.default_rng(3)
    pictures = tuple(
        Picture(str(number), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for number in range(len(uses))
    )
    return replace(spec(**changes), controls=uses, control_pictures=pictures)


def test_a_net_that_takes_no_part_changes_nothing(engine: SdxlEngine) -> None:
    canny, sketch = use(engine, "canny"), use(engine, "sketch")
    full = make(engine, control(engine, canny, sketch))
    # Of four steps none lies in this interval.
    never = make(engine, control(engine, *(replace(e, end=0.2) for e in (canny, sketch))))
    zero = make(engine, control(engine, *(replace(e, scale=0.0) for e in (canny, sketch))))
    assert np.array_equal(never, zero)
    assert not np.array_equal(full, never)
    plain = make(engine, spec())
    assert np.abs(never.astype(int) - plain.astype(int)).max() <= 1


def test_nets_come_in_the_requests_order(engine: SdxlEngine) -> None:
    canny, depth = use(engine, "canny"), use(engine, "depth")
    first = control(engine, canny, depth)
    swapped = replace(first, controls=(depth, canny), control_pictures=first.control_pictures[::-1])
    crossed = replace(first, controls=(depth, canny))
    one, other, third = (make(engine, each) for each in (first, swapped, crossed))
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert np.abs(one.astype(int) - third.astype(int)).max() > 1


def test_long_prompts_have_programs_too(model: Path, nets: Path) -> None:
    longer = start(model, controlnets=nets, max_prompt_chunks=2)
    asked = control(longer, use(longer, "canny"), prompt=long("a red circle", "on blue"))
    image = make(longer, asked)
    assert not np.array_equal(image, make(longer, replace(asked, controls=(use(longer, "depth"),))))


def test_cached_steps_are_refused(model: Path, nets: Path) -> None:
    caching = start(model, controlnets=nets, max_cache_interval=3)
    asked = control(caching, use(caching, "canny"), cache_interval=2)
    with pytest.raises(InvalidRequest, match="cache_interval is 2: an image with controls or"):
        caching.start(asked)


def test_a_lane_without_a_net_keeps_its_numbers_if_the_nets_are_not_finite() -> None:
    before, broken, scale = jnp.array([1.0, 2.0]), jnp.array([np.nan, np.inf]), jnp.float32(0)
    assert np.array_equal(_added(before, broken, scale), before)
    assert not np.isfinite(_added(before, broken, scale + 1)).any()


def test_halving_an_odd_side_takes_the_mean_of_what_is_there() -> None:
    x = jnp.arange(15, dtype=jnp.float32).reshape(1, 3, 5, 1)
    expected = [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    assert np.array_equal(np.asarray(_halve(x))[0, :, :, 0], expected)


def test_easel_compile_makes_the_workers_programs(
    engine: SdxlEngine, model: Path, nets: Path
) -> None:
    names: list[str] = []

    class Naming:
        def compile(self, name: str, *_: Any) -> Program:
            names.append(name)
            return Program(ProgramInfo(name, 0.0, cached=False), lambda *_: None)

    options = Options(
        devices=jax.devices()[:1],
        sizes=[],
        max_prompt_chunks=1,
        image_inputs=False,
        controlnets=nets,
    )
    compile_all(read(model, options, only=False), Naming())  # type: ignore[arg-type]
    assert names == [program.name for program in engine.capabilities.programs]


def test_controls_over_a_unet_of_8_bits(
    model: Path, nets: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = shutil.copytree(model, tmp_path_factory.mktemp("int8") / "model")
    options = Options(devices=jax.devices()[:1], max_prompt_chunks=1)
    largest = calibrate(folder, [tokens("a red circle")], options, 3, lambda _: None)
    calibration.write(folder / calibration.FILE, largest)
    quantised = start(folder, controlnets=nets, quantization="int8")
    canny = use(quantised, "canny")
    plain = make(quantised, spec())
    without = make(quantised, control(quantised, replace(canny, scale=0.0)))
    assert np.abs(without.astype(int) - plain.astype(int)).max() <= 1
    assert not np.array_equal(make(quantised, control(quantised, canny)), plain)


# The operator's folder


def found(model: Path, folder: Path, *sizes: Size) -> tuple[tuple[ControlFiles, ...], list[str]]:
    config, lines = load_config(model), []
    controls = find_controls(folder, config.unet, config.vae_scale, sizes or SIZES, lines.append)
    return controls, lines


def test_a_file_of_a_controlnet_needs_no_config(model: Path, tmp_path: Path) -> None:
    save_file(files.tensors("n", tiny_nets.CONTROLNET), tmp_path / "canny.safetensors")
    without = files.tensors("n", tiny_nets.WITHOUT_CONDITIONS)
    save_file(without, tmp_path / "plain.safetensors")
    controls, lines = found(model, tmp_path)
    assert lines == []
    assert [each.name for each in controls] == ["canny", "plain"]
    assert [each.config.added_conditions for each in controls] == [True, False]
    engine = start(model, controlnets=tmp_path)
    image = make(engine, control(engine, use(engine, "canny")))
    assert not np.array_equal(image, make(engine, control(engine, use(engine, "plain"))))


def test_a_file_in_the_original_layout_is_the_same_net(model: Path, tmp_path: Path) -> None:
    for name, config in (("n", tiny_nets.CONTROLNET), ("p", tiny_nets.WITHOUT_CONDITIONS)):
        own = files.tensors(name, config)
        save_file(own, tmp_path / f"{name}.safetensors")
        for prefix in ("control_model.", ""):
            original = original_layout.controlnet(own, prefix=prefix)
            save_file(original, tmp_path / f"{name}-{len(prefix)}.safetensors")
    controls, lines = found(model, tmp_path)
    assert lines == []
    assert sorted(each.name for each in controls) == ["n", "n-0", "n-14", "p", "p-0", "p-14"]
    for name in ("n", "p"):
        one, *others = (each for each in controls if each.name.startswith(name))
        assert all(each.config == one.config for each in others)
        trees = [
            load(each.weights, each.tree, np.float32, lambda array, _: jnp.asarray(array))
            for each in (one, *others)
        ]
        first, *rest = (jax.tree.leaves(tree) for tree in trees)
        assert first
        for leaves in rest:
            assert all(map(np.array_equal, first, leaves))


def test_a_file_in_the_original_layout_is_read_strictly(model: Path, tmp_path: Path) -> None:
    whole = original_layout.controlnet(files.tensors("n", tiny_nets.CONTROLNET))
    wrong = {
        "less": {k: v for k, v in whole.items() if k != "control_model.zero_convs.2.0.bias"},
        "more": whole | {"control_model.zero_convs.99.0.bias": np.zeros(1, np.float32)},
        # What ldm's own files of SD 1 have besides is no part of the net.
        "with-a-model": whole | {"model.diffusion_model.out.0.bias": np.zeros(1, np.float32)},
    }
    for name, tensors in wrong.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    controls, lines = found(model, tmp_path)
    assert [each.name for each in controls] == ["with-a-model"]
    assert "missing tensor control_model.zero_convs.2.0.bias" in lines[0]
    assert "unknown tensor control_model.zero_convs.99.0.bias" in lines[1]


def test_the_digest_follows_the_weights_and_the_config(model: Path, tmp_path: Path) -> None:
    files.write_net(tmp_path, "canny", tiny_nets.CONTROLNET)
    (before,), _ = found(model, tmp_path)
    first = before.digest()
    save_file(
        files.tensors("other", tiny_nets.CONTROLNET),
        tmp_path / "canny" / "diffusion_pytorch_model.safetensors",
    )
    second = before.digest()
    bgr = tiny_nets.CONTROLNET | {"controlnet_conditioning_channel_order": "bgr"}
    (tmp_path / "canny" / "config.json").write_text(json.dumps(bgr))
    assert len({first, second, before.digest()}) == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "ControlNetXSAdapter"}, "it is a ControlNet-XS, which is not supported"),
        ({"_class_name": "UNet2DConditionModel"}, "this class is not supported; it must be"),
        (tiny_nets.CONTROLNET | {"cross_attention_dim": 24}, "for other text encoders: cross_att"),
        (tiny_nets.CONTROLNET | {"block_out_channels": [8, 16, 24]}, "it is for another UNet"),
        (tiny_nets.CONTROLNET | {"layers_per_block": 2}, "it is for another UNet"),
        (
            tiny_nets.CONTROLNET | {"in_channels": 9},
            "in_channels is 9, and the model's latents have 4",
        ),
        (tiny_nets.CONTROLNET | {"global_pool_conditions": True}, "global_pool_conditions = true"),
        (tiny_nets.CONTROLNET | {"a_new_key": 1}, "a_new_key = 1: unknown key"),
        (
            tiny_nets.CONTROLNET | {"conditioning_embedding_out_channels": [4, 8, 8]},
            "has 3 numbers, so a latent is 4 pixels wide, and 2 in the model",
        ),
        (
            tiny_nets.CONTROLNET | {"projection_class_embeddings_input_dim": 40},
            "projection_class_embeddings_input_dim and addition_time_embed_dim are 40 and 4",
        ),
        (tiny_nets.ADAPTER | {"adapter_type": "light_adapter"}, "only full_adapter_xl"),
        (tiny_nets.ADAPTER | {"in_channels": 4}, "in_channels = 4: must be 1 or 3"),
        (tiny_nets.ADAPTER | {"channels": [8, 16, 16, 24]}, "it is for another UNet: at 16x8"),
        (tiny_nets.ADAPTER | {"downscale_factor": 16}, "which does not divide the size 16x8"),
        (tiny_nets.ADAPTER | {"downscale_factor": 0}, "must be 1 or more"),
    ],
)
def test_a_net_that_does_not_fit_is_left_out_with_the_reason(
    model: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    controls, (line,) = found(model, tmp_path)
    assert controls == ()
    assert "is left out" in line
    assert message in line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("control_model.task_embedding", "a ControlNet Union, which is not supported"),
        ("lora_controlnet", "a control-LoRA, which is not supported"),
        ("lllite_unet_input_blocks_4_1.conditioning1.0.bias", "a ControlNet-LLLite, which is not"),
        ("task_embedding", "a ControlNet Union, which is not supported"),
        ("body.0.block1.weight", "a T2I-Adapter in the original layout"),
        (
            "something",
            "it has neither a tensor controlnet_cond_embedding.conv_in.weight nor input_hint",
        ),
    ],
)
def test_files_of_other_kinds_are_named(
    model: Path, tmp_path: Path, name: str, message: str
) -> None:
    save_file({name: np.zeros(1, np.float32)}, tmp_path / "net.safetensors")
    controls, (line,) = found(model, tmp_path)
    assert controls == ()
    assert message in line


def test_weights_are_checked_before_the_start(model: Path, tmp_path: Path) -> None:
    path = files.write_net(tmp_path, "canny", tiny_nets.CONTROLNET)
    weights = files.tensors("canny", tiny_nets.CONTROLNET)
    weights["controlnet_mid_block.extra"] = weights.pop("controlnet_mid_block.bias")
    save_file(weights, path / "diffusion_pytorch_model.safetensors")
    _, (line,) = found(model, tmp_path)
    assert "unknown tensor controlnet_mid_block.extra" in line
    assert "missing tensor controlnet_mid_block.bias" in line


def test_names_are_those_that_requests_can_write(model: Path, tmp_path: Path) -> None:
    for name in (".hidden", "a:b", "canny"):
        files.write_net(tmp_path, name, tiny_nets.CONTROLNET)
    save_file(files.tensors("n", tiny_nets.CONTROLNET), tmp_path / "canny.safetensors")
    (tmp_path / "notes.txt").write_text("no net")
    controls, lines = found(model, tmp_path)
    assert [each.name for each in controls] == ["canny"]
    assert len(lines) == 2
    assert "a request cannot write its name" in lines[0]
    assert "there are two nets called canny" in lines[1]
