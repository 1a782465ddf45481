"""What `npm run bench:chip` asks of a device."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench.chip import int8, layers
from bench.chip.compare import signal_to_noise
from bench.chip.device import describe
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.kernels import integers
from easel_worker.sdxl.model import layers as model_layers
from easel_worker.sdxl.model.kernel_options import PLAIN, KernelOptions
from easel_worker.sdxl.model.unet import UNet

DEMO = Path(__file__).parents[3] / "models" / "demo"


def _unet() -> tuple[UNet, tuple[jax.Array, ...]]:
    """A random UNet of the demo model's architecture, and arguments of a call."""
    config = read_config(locate(DEMO))
    unet = weights.init(UNet.declare(config.unet), jax.random.key(0), jnp.float32)
    return unet, layers.arguments(config, 64, jnp.float32)


def test_names_each_layer_in_order_and_finds_no_difference_between_equal_kernels() -> None:
    unet, given = _unet()
    found = layers.differences(unet, PLAIN, *given)
    assert set(found.values()) == {0.0}
    names = list(found)
    assert names[0] == "down.0.resnets.0"
    assert names[-1] == "whole"
    blocks = [*unet.down, unet.mid, *unet.up]
    assert len(names) == 1 + sum(len(each.resnets) + len(each.attentions) for each in blocks)
    first_up = next(name for name in names if name.startswith("up"))
    assert first_up == f"up.{len(unet.up) - 1}.resnets.0"


def test_shows_which_layers_other_kernels_compute_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unet, given = _unet()
    one_pass = KernelOptions(one_pass_norms=True)
    right = layers.differences(unet, one_pass, *given)
    assert 0 < max(right.values()) < 1e-4

    def broken(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        mean, variance = moments(x, axes)
        quarter = given[0].shape[1] * given[0].shape[2] // 4  # the pixels of the second level
        return mean, variance * (4.0 if x.shape[1] == quarter else 1.0)

    moments = model_layers._moments
    monkeypatch.setattr(model_layers, "_moments", broken)
    wrong = layers.differences(unet, one_pass, *given)
    assert wrong["down.0.resnets.0"] < 1e-4
    assert wrong["down.1.resnets.0"] > 0.01


def test_int8_kernels_round_as_the_host_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert int8.check()["wrong"] == 0
    monkeypatch.setattr(integers, "to_int8", lambda x: jnp.clip(x, -127, 127).astype(jnp.int8))
    found = int8.check()
    assert found["wrong"] > 1000
    assert found["first"]["device"] != found["first"]["host"]


def test_signal_to_noise_is_none_for_equal_images() -> None:
    image = np.full((4, 4, 3), 7, np.uint8)
    assert signal_to_noise(image, image) is None
    assert signal_to_noise(image, image + np.uint8(1)) == pytest.approx(20 * np.log10(255))


def test_describes_the_device() -> None:
    found = describe()
    assert (found["platform"], found["count"]) == ("cpu", len(jax.devices()))
    assert found["fingerprint"]["jax"] == jax.__version__
