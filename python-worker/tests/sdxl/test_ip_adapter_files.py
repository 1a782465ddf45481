"""What an operator's folder of IP-Adapters may hold, and what is left out and why."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from easel_worker.sdxl.folder.ip_adapter import common_tokens, digests, find_ip_adapters
from parity import cases
from parity.ip_adapters.files import FILES, PLAIN, PLUS, AdapterFile, unet_of, vision

MODEL = cases.SDXL_BASE_IN_SMALL
UNET = unet_of(MODEL)


def found(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the usable adapters, and what is said of the others."""
    said: list[str] = []
    return [each.name for each in find_ip_adapters(folder, UNET, said.append)], said


def change_tensors(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_finds_both_kinds_by_their_folders(tmp_path: Path) -> None:
    for file in FILES:
        file.write(tmp_path, UNET)
    (tmp_path / ".hidden").mkdir()
    assert found(tmp_path) == (["plain", "plus"], [])
    plain, plus = find_ip_adapters(tmp_path, UNET, print)
    assert (plain.shape, plus.shape) == (PLAIN.shape, PLUS.shape)
    assert (plain.vision.side, plus.vision.side) == (28, 42)


def test_the_digest_follows_the_adapter_and_its_encoder(tmp_path: Path) -> None:
    folder = PLAIN.write(tmp_path, UNET)

    def now() -> tuple[str, str]:
        [files] = find_ip_adapters(tmp_path, UNET, print)
        return digests(files)

    first = now()
    assert first == now()
    change_tensors(folder / PLAIN.file, lambda t: t["image_proj.norm.bias"].fill(1))
    second = now()
    assert second[0] != first[0]
    assert second[1] == first[1]
    config = folder / "image_encoder/config.json"
    config.write_text(json.dumps(PLAIN.encoder | {"layer_norm_eps": 1e-4}))
    assert len({*first, *second, *now()}) == 5


def test_an_encoder_of_2023_has_its_positions_too(tmp_path: Path) -> None:
    folder = PLAIN.write(tmp_path, UNET)
    name = "vision_model.embeddings.position_ids"
    change_tensors(
        folder / "image_encoder/model.safetensors",
        lambda t: t.__setitem__(name, np.arange(17)[None]),
    )
    assert found(tmp_path) == (["plain"], [])


def rename(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        change_tensors(folder / PLAIN.file, lambda t: t.__setitem__(new, t.pop(old)))

    return change


def drop(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def pickled(folder: Path) -> None:
    (folder / PLAIN.file).rename(folder / "ip-adapter_sdxl.bin")


def pickled_encoder(folder: Path) -> None:
    encoder = folder / "image_encoder"
    (encoder / "model.safetensors").rename(encoder / "pytorch_model.bin")


def second_file(folder: Path) -> None:
    save_file({"a": np.zeros(1)}, folder / "b.safetensors")


def with_lora(folder: Path) -> None:
    name = "ip_adapter.0.to_q_lora.down.weight"
    change_tensors(folder / PLAIN.file, lambda t: t.__setitem__(name, np.zeros((4, 4))))


def no_safetensors(folder: Path) -> None:
    (folder / PLAIN.file).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def encoder_says(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = folder / "image_encoder/config.json"
        config.write_text(json.dumps(PLAIN.encoder | changes))

    return change


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a FaceID": (rename("image_proj.proj.weight", "image_proj.proj.0.weight"), "kind FaceID,"),
    "a FaceID Plus": (
        rename("image_proj.proj.weight", "image_proj.perceiver_resampler.proj_in.weight"),
        "kind FaceID Plus,",
    ),
    "a Full Face": (rename("image_proj.proj.weight", "image_proj.proj.3.weight"), "Full Face,"),
    "with LoRAs": (with_lora, "kind FaceID, with LoRAs"),
    "a pickle": (pickled, r"ip-adapter_sdxl\.bin, which can run code: convert it with torch\.load"),
    "a pickled encoder": (pickled_encoder, "convert it with transformers: CLIPVisionModelWith"),
    "two files": (second_file, "has 2 files: b.safetensors, ip-adapter-plain.safetensors; leave"),
    "no file": (drop(PLAIN.file), "has no .safetensors file"),
    "no encoder": (drop("image_encoder/config.json"), "h94/IP-Adapter has ViT-H in"),
    "a link of LFS": (no_safetensors, "not a safetensors file"),
    "another layout": (rename("image_proj.norm.weight", "norm.weight"), "has no image_proj.norm"),
    "a part missing": (
        rename("ip_adapter.1.to_k_ip.weight", "ip_adapter.999.to_k_ip.weight"),
        "does not fit this model's UNet: .*unknown tensor ip_adapter.999.*missing tensor ip_ada",
    ),
    "another projection": (
        encoder_says(projection_dim=32),
        "reads 24 features, but image_encoder/config.json has projection_dim 32",
    ),
    "another encoder": (encoder_says(hidden_size=64), "has shape .*, but the config requires"),
    "a text encoder": (encoder_says(model_type="clip_text_model"), "model_type"),
    "no whole patches": (encoder_says(patch_size=5), "patch_size = 5: must divide image_size, 28"),
    "no heads": (encoder_says(num_attention_heads=5), "must divide hidden_size, 32"),
    "no layers": (encoder_says(num_hidden_layers=0), "num_hidden_layers = 0: must be 1 or more"),
    "grey pictures": (encoder_says(num_channels=1), "num_channels = 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_leaves_out(name: str, tmp_path: Path) -> None:
    change, why = REFUSED[name]
    change(PLAIN.write(tmp_path, UNET))
    PLUS.write(tmp_path, UNET)
    names, said = found(tmp_path)
    assert names == ["plus"]
    assert len(said) == 1
    assert re.search(why, said[0], re.DOTALL), said
    assert said[0].startswith("an IP-Adapter is left out: ")


def test_leaves_out_an_adapter_for_other_prompts(tmp_path: Path) -> None:
    PLAIN.write(tmp_path, unet_of(cases.CONV_PROJECTION))
    assert unet_of(cases.CONV_PROJECTION).context == UNET.context
    names, said = found(tmp_path)
    assert names == []
    assert "does not fit this model's UNet" in said[0]
    replace(PLAIN, name="sd15").write(tmp_path, unet_of(cases.FOUR_LEVELS))
    names, said = found(tmp_path)
    assert "makes tokens of 48 features, but this model's prompts have 40" in said[1]


def test_leaves_out_too_many_tokens(tmp_path: Path) -> None:
    many = AdapterFile("many", replace(PLAIN.shape, tokens=65), vision(32, 1, 2))
    many.write(tmp_path, UNET)
    assert "makes 65 tokens: 1 to 64 are supported" in found(tmp_path)[1][0]


def test_leaves_out_tokens_that_do_not_go_with_the_others(tmp_path: Path) -> None:
    for name, tokens in (("a", 4), ("b", 6), ("c", 48), ("d", 7), ("e", 16)):
        shape = replace(PLAIN.shape, tokens=tokens)
        AdapterFile(name, shape, vision(32, 1, 2)).write(tmp_path, UNET)
    names, said = found(tmp_path)
    assert names == ["a", "b", "c", "e"]
    assert "d makes 7 tokens, and the others 4, 6, 48: their least common multiple, 336" in said[0]
    assert common_tokens(find_ip_adapters(tmp_path, UNET, said.append)) == 48


def test_says_what_is_no_folder_and_that_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "ip-adapter_sdxl.safetensors").write_bytes(b"")
    names, said = found(tmp_path)
    assert (names, len(said)) == ([], 1)
    assert "an IP-Adapter is a folder, with its .safetensors file and its image_encoder/" in said[0]
    assert "cannot be read: No such file" in found(tmp_path / "absent")[1][0]
