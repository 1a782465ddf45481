"""Decoding in tiles, against diffusers (tests/goldens/vae-tiles.npz) and through the engine."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model import vae_tiles
from easel_worker.sdxl.model.vae import Decoder
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from parity import ours
from parity.components import tiles
from parity.golden import Golden
from parity.report import relative_difference
from tests.sdxl import tiny_model
from tests.sdxl.engines import start

FolderMaker = Callable[[str], tuple[Golden, Path]]
GOLDEN = Path(__file__).parent.parent / "goldens" / tiles.FILE
BASE = Path(__file__).parents[3] / "models" / "sdxl-base-config"
FLOAT32_LIMIT = 1e-4


def test_tiles_equal_diffusers(golden_folder: FolderMaker) -> None:
    _, folder = golden_folder(tiles.CASE)
    autoencoder = ours.load(folder, jnp.float32)["vae"]
    with np.load(GOLDEN) as golden:
        latents, image = golden["latents"], golden["image"]
    found = ours.decode_in_tiles(autoencoder, latents, tiles.TILE)
    assert relative_difference(found, image) <= FLOAT32_LIMIT
    whole = ours.decode_in_tiles(autoencoder, latents, max(tiles.LATENTS))
    assert relative_difference(whole, image) > FLOAT32_LIMIT


def test_decodes_an_image_of_one_tile_whole(golden_folder: FolderMaker) -> None:
    _, folder = golden_folder(tiles.CASE)
    decoder = ours.load(folder, jnp.float32)["vae"].decoder
    latents = jnp.asarray(tiles.latents(1)[:, :, :8, :8].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(
        vae_tiles.decode(decoder, latents, tile=8),
        decoder(latents),
    )


def test_tiles_take_less_memory(golden_folder: FolderMaker) -> None:
    _, folder = golden_folder(tiles.CASE)
    decoder = ours.load(folder, jnp.float32)["vae"].decoder
    latents = jax.ShapeDtypeStruct((1, 64, 64, 4), jnp.float32)  # type: ignore[no-untyped-call]

    def temporary(tile: int) -> int:
        run = jax.jit(lambda x: vae_tiles.decode(decoder, x, tile=tile))
        memory = run.lower(latents).compile().memory_analysis()
        assert memory is not None
        return int(memory.temp_size_in_bytes)

    assert temporary(16) < 0.5 * temporary(64)


def test_tiles_take_less_memory_at_full_size() -> None:
    """Without a loop the compiler allocated all tiles of SDXL base at once."""
    config = load_config(BASE).vae
    tree = weights.abstract(Decoder.declare(config), jnp.float32)
    latents = jax.ShapeDtypeStruct((1, 64, 64, 4), jnp.float32)  # type: ignore[no-untyped-call]

    def temporary(tile: int) -> int:
        run = jax.jit(lambda tree, x: vae_tiles.decode(tree, x, tile=tile))
        memory = run.lower(tree, latents).compile().memory_analysis()
        assert memory is not None
        return int(memory.temp_size_in_bytes)

    assert temporary(32) < 0.5 * temporary(64)


def test_the_engine_decodes_in_tiles_if_the_option_is_set(tmp_path: Path) -> None:
    folder = tiny_model.write(tmp_path)

    def image(tile: int) -> np.ndarray:
        engine = start(folder, vae_tile=tile)
        lane = engine.start(tiny_model.spec(steps=1))
        engine.step([lane])
        return engine.finish(lane)

    whole, large, small = image(0), image(16), image(8)
    np.testing.assert_array_equal(whole, large)
    assert whole.shape == small.shape
    assert not np.array_equal(whole, small)


@pytest.mark.parametrize("tile", [4, 12])
def test_refuses_tiles_that_are_no_multiple_of_the_scale(tmp_path: Path, tile: int) -> None:
    with pytest.raises(ValueError, match="must be a multiple of 8"):
        SdxlEngine(tiny_model.write(tmp_path), Options(vae_tile=tile))
