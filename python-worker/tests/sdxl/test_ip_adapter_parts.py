"""Vision encoders and projections of IP-Adapters against transformers' and diffusers'."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.folder.config_vision import read_vision_config
from easel_worker.sdxl.folder.weights import abstract, init
from easel_worker.sdxl.model.attention import KeyValue
from easel_worker.sdxl.model.ip_adapter import IpAdapter, PlainShape, ResamplerShape
from easel_worker.sdxl.model.params import count
from easel_worker.sdxl.model.unet import PromptContext, UNet
from easel_worker.sdxl.model.vision_encoder import VisionEncoder
from parity import cases
from parity.ip_adapters import ours
from parity.ip_adapters.files import FILES, PLAIN, AdapterFile, picture, unet_of, vision
from parity.report import relative_difference

GOLDEN = Path(__file__).parents[1] / "goldens" / "ip-adapters.npz"
LIMIT = 1e-4
PICTURE_SEED = 20
MODEL = cases.SDXL_BASE_IN_SMALL


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_parts_equal_the_libraries(file: AdapterFile, tmp_path: Path) -> None:
    golden, folder = np.load(GOLDEN), file.write(tmp_path, unet_of(MODEL))
    made = ours.run(folder, unet_of(MODEL), picture(PICTURE_SEED))._asdict()
    assert np.array_equal(made.pop("pixels"), golden[f"{file.name} pixels"])
    found = {name: relative_difference(made[name], golden[f"{file.name} {name}"]) for name in made}
    assert max(found.values()) <= LIMIT, found


def test_the_scale_multiplies_the_values_alone() -> None:
    config = unet_of(MODEL)
    adapter = init(IpAdapter.declare(PLAIN.shape, config), jax.random.key(0), jnp.float32)
    tokens = jax.random.normal(jax.random.key(1), (2, 4, config.context))
    whole, part, none = (adapter.project(tokens, jnp.float32(scale)) for scale in (1.0, 0.6, 0.0))
    assert jax.tree.structure(whole) == jax.tree.structure(prompt_context(MODEL))
    for one, other, zero in zip(*map(key_values, (whole, part, none)), strict=True):
        assert np.array_equal(one.key, other.key)
        assert np.array_equal(one.key, zero.key)
        assert np.allclose(0.6 * one.value, other.value, rtol=1e-6)
        assert not zero.value.any()
        assert one.value.any()


@pytest.mark.parametrize("model", [MODEL, *cases.SIBLINGS], ids=lambda model: model.name)
def test_an_adapter_has_layers_for_each_cross_attention(model: cases.Case) -> None:
    """Of the shapes that the UNet has, in the order that diffusers gives its attentions."""
    config = unet_of(model)
    tensors = PLAIN.tensors(config)
    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("ip_adapter")})
    assert numbers == list(range(1, 2 * len(numbers), 2))
    unet = {param.name: param.stored for param in jax.tree.leaves(UNet.declare(config))}
    keys = [name for name in unet if name.endswith("attn2.to_k.weight")]
    wanted = [unet[name] for name in sorted(keys, key=place)]
    assert [tensors[f"ip_adapter.{number}.to_k_ip.weight"].shape for number in numbers] == wanted


def place(name: str) -> tuple[object, ...]:
    """The place of a tensor's layer in the order of diffusers' UNet."""
    part, *rest = name.split(".")
    parts = ("down_blocks", "up_blocks", "mid_block")
    return parts.index(part), [int(each) for each in rest if each.isdigit()]


def prompt_context(model: cases.Case) -> PromptContext:
    config = unet_of(model)
    unet = init(UNet.declare(config), jax.random.key(0), jnp.float32)
    made: PromptContext = jax.eval_shape(unet.project_context, jnp.zeros((2, 4, config.context)))
    return made


def key_values(context: PromptContext) -> list[KeyValue]:
    return jax.tree.leaves(context, is_leaf=lambda node: isinstance(node, KeyValue))


BASE = Path(__file__).parents[3] / "models/sdxl-base-config/unet/config.json"
PAGE = Path(__file__).parents[3] / "docs/models.md"
LARGE = {"image_size": 224, "patch_size": 14}
VIT_H = vision(1280, 32, 16, projection_dim=1024, **LARGE)
BIG_G = vision(1664, 48, 16, projection_dim=1280, intermediate_size=8192, **LARGE)


def encoder(config: dict[str, Any]) -> VisionEncoder:
    return VisionEncoder.declare(read_vision_config(ConfigFile(Path("config.json"), config)))


def test_the_page_says_the_memory_of_published_adapters() -> None:
    config = read_unet_config(ConfigFile(BASE))
    plus = ResamplerShape(tokens=16, features=1280, hidden=1280, heads=20, layers=4)
    trees = {
        "encoder ViT-H": encoder(VIT_H),
        "encoder bigG": encoder(BIG_G),
        "`ip-adapter_sdxl`": IpAdapter.declare(PlainShape(4, 1280), config),
        "`ip-adapter_sdxl_vit-h`": IpAdapter.declare(PlainShape(4, 1024), config),
        "`ip-adapter-plus_sdxl_vit-h`": IpAdapter.declare(plus, config),
    }
    page = PAGE.read_text()
    for name, tree in trees.items():
        size = count(tree)
        assert f"| {name} | {size / 1e6:,.0f} M | {2 * size / 1e9:.2f} GB |" in page
    adapter = abstract(trees["`ip-adapter_sdxl`"], jnp.bfloat16)
    for tokens in (4, 16):
        given = jax.ShapeDtypeStruct((2, tokens, config.context), jnp.bfloat16)
        made = jax.eval_shape(IpAdapter.project, adapter, given, np.float32(1))
        held = sum(each.size * each.dtype.itemsize for each in jax.tree.leaves(made))
        assert f"| each guided image in flight, {tokens} tokens | | {held / 1e6:.1f} MB |" in page
