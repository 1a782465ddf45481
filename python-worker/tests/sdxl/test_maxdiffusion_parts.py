"""What MaxDiffusion's UNet is told, its parameters' names, and what it is not given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from easel_worker.maxdiffusion.fields import check_sizes, fields_of
from easel_worker.maxdiffusion.options import Options
from easel_worker.maxdiffusion.weights import check_tree, flax_path, flax_shape, flax_tree
from easel_worker.process_options import load
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.params import Param, declared
from easel_worker.sdxl.model.unet import UNet
from easel_worker.values import Size

BASE = Path(__file__).parents[3] / "models" / "sdxl-base-config"


@pytest.fixture(scope="module", name="base")
def _base() -> UNetConfig:
    return load_config(BASE).unet


def nested(params: list[Param]) -> dict[str, Any]:
    """The shapes of Flax's arrays, nested."""
    shapes = [jax.ShapeDtypeStruct(param.shape, np.float32) for param in params]
    made: dict[str, Any] = jax.eval_shape(lambda *arrays: flax_tree(params, arrays), *shapes)
    return made


def test_sdxl_base_is_described(base: UNetConfig) -> None:
    assert fields_of(base) == {
        "sample_size": 128,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 2,
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "transformer_layers_per_block": (1, 2, 10),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }


def test_a_middle_deeper_than_a_level_without_transformers(base: UNetConfig) -> None:
    refiner = replace(
        base,
        channels=(384, 768, 1536, 1536),
        layers=(2, 2, 2, 2),
        down_transformers=((), (4, 4), (4, 4), ()),
        mid_transformers=(4,),
        up_transformers=((), (4, 4, 4), (4, 4, 4), ()),
        heads=(6, 12, 24, 24),
    )
    assert fields_of(refiner)["transformer_layers_per_block"] == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm_groups": 16}, "norm_num_groups other than 32"),
        ({"norm_eps": 1e-6}, "norm_eps"),
        ({"guidance_features": 256}, "guidance scale as an input"),
        ({"layers": (2, 1, 2)}, "layers_per_block"),
        ({"mid_resnets": 1, "mid_transformers": ()}, "another middle block"),
        ({"mid_resnets": 0, "mid_transformers": ()}, "another middle block"),
        ({"mid_transformers": (4,)}, "transformers of different depths"),
        ({"down_transformers": ((), (2, 1), (10, 10))}, "transformers of different depths"),
        ({"up_transformers": ((), (2, 2, 2), (10, 10, 4))}, "transformers of different depths"),
    ],
)
def test_what_it_cannot_compute_is_refused(
    base: UNetConfig, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=rf"MaxDiffusion does not compute UNets with .*{said}"):
        fields_of(replace(base, **change))


def test_a_size_that_it_cannot_halve_exactly_is_refused(base: UNetConfig) -> None:
    check_sizes([Size(1024, 1024), Size(832, 1216)], base, 8)
    with pytest.raises(ValueError, match=r"size 1000x1024: .* multiples of 32"):
        check_sizes([Size(1000, 1024)], base, 8)


def test_the_names_of_parameters(base: UNetConfig) -> None:
    paths = {param.name: "/".join(flax_path(param)) for param in declared(UNet.declare(base))}
    assert len(set(paths.values())) == len(paths)
    block = "down_blocks_1/attentions_0/transformer_blocks_1"
    wanted = {
        "conv_in.weight": "conv_in/kernel",
        "time_embedding.linear_1.bias": "time_embedding/linear_1/bias",
        "conv_norm_out.weight": "conv_norm_out/scale",
        "down_blocks.1.attentions.0.norm.bias": "down_blocks_1/attentions_0/norm/bias",
        "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_out.0.weight": (
            f"{block}/attn2/to_out_0/kernel"
        ),
        "down_blocks.1.attentions.0.transformer_blocks.1.ff.net.0.proj.weight": (
            f"{block}/ff/net_0/proj/kernel"
        ),
        "down_blocks.1.attentions.0.transformer_blocks.1.ff.net.2.bias": f"{block}/ff/net_2/bias",
        "down_blocks.0.downsamplers.0.conv.weight": "down_blocks_0/downsamplers_0/conv/kernel",
        "mid_block.resnets.1.norm1.weight": "mid_block/resnets_1/norm1/scale",
        "up_blocks.2.resnets.0.conv_shortcut.weight": "up_blocks_2/resnets_0/conv_shortcut/kernel",
    }
    assert {name: paths[name] for name in wanted} == wanted


def test_a_convolution_of_one_pixel_has_its_sides(base: UNetConfig) -> None:
    shapes = {param.name: flax_shape(param) for param in declared(UNet.declare(base))}
    assert shapes["up_blocks.2.resnets.0.conv_shortcut.weight"] == (1, 1, 960, 320)
    assert shapes["down_blocks.1.attentions.0.proj_in.weight"] == (640, 640)
    assert shapes["conv_in.weight"] == (3, 3, 4, 320)


def test_equal_trees_are_accepted_and_others_named(base: UNetConfig) -> None:
    params = declared(UNet.declare(base))
    check_tree(params, nested(params))
    fewer = nested(params)
    del fewer["mid_block"]["resnets_1"]["norm1"]["scale"]
    with pytest.raises(
        ValueError, match=r"1 differ, first mid_block/resnets_1/norm1/scale, .*miss"
    ):
        check_tree(params, fewer)
    with pytest.raises(ValueError, match=r"conv_in/bias, which is \(320,\) there and missing"):
        check_tree([each for each in params if each.name != "conv_in.bias"], nested(params))
    other = nested(params)
    other["conv_in"]["kernel"] = jax.ShapeDtypeStruct((3, 3, 9, 320), np.float32)
    with pytest.raises(ValueError, match=r"is \(3, 3, 9, 320\) there and \(3, 3, 4, 320\) in"):
        check_tree(params, other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantization", "int8"),
        ("calibration", "file"),
        ("max_cache_interval", "2"),
        ("loras", "."),
        ("controlnets", "."),
        ("ip_adapters", "."),
    ],
)
def test_options_of_our_unet_are_refused(
    capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    with pytest.raises(SystemExit) as exited:
        load(["--engine", "maxdiffusion", "--model", "m"], {name.upper(): value})
    assert exited.value.code == 2
    said = capsys.readouterr().err
    assert f"{name} is {value}" in said
    assert f"leave out {name.upper()}, or set ENGINE to sdxl" in said


def test_its_options_are_read() -> None:
    given = {"MAXDIFFUSION_ATTENTION": "flash", "MAXDIFFUSION_FLASH_MIN_TOKENS": "1024"}
    own = load(["--engine", "maxdiffusion", "--model", "m", "--maxdiffusion", "."], given).of_engine
    assert own == Options(
        maxdiffusion=Path("."), maxdiffusion_attention="flash", maxdiffusion_flash_min_tokens=1024
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAXDIFFUSION", "/no/such/folder"),
        ("MAXDIFFUSION_ATTENTION", "ring"),
        ("MAXDIFFUSION_FLASH_MIN_TOKENS", "0"),
    ],
)
def test_wrong_values_name_the_option(
    capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    with pytest.raises(SystemExit):
        load(["--engine", "maxdiffusion", "--model", "m"], {variable: value})
    assert f"{variable}: " in capsys.readouterr().err
