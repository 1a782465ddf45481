"""What `npm run bench:chip` asks of a device."""

from dataclasses import replace
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
from easel_worker.sdxl.model.kernel_options import PLAIN, KernelOptions
from easel_worker.sdxl.model.unet import UNet

DEMO = Path(__file__).parents[3] / "models" / "demo"


def _unet() -> tuple[UNet, tuple[jax.Array, ...]]:
    """A random UNet of the demo model's architecture, and arguments of a call."""
    config = read_config(locate(DEMO))
    unet = weights.init(UNet.declare(config.unet), jax.random.key(0), jnp.float32)
    return unet, layers.arguments(config, 64, jnp.float32)


def _with_bias(unet: UNet, bias: float) -> UNet:
    """The same UNet, whose first convolution adds a constant."""
    conv = replace(unet.conv_in, bias=unet.conv_in.bias + bias)
    return replace(unet, conv_in=conv)


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


def test_shows_which_layer_other_kernels_compute_differently() -> None:
    unet, given = _unet()
    one_pass = KernelOptions(one_pass_norms=True)
    right = layers.differences(unet, one_pass, *given)
    assert 0 < max(right.values()) < 1e-4
    # A mean far above the spread is where one pass loses digits.
    broken = _with_bias(unet, 1e4)
    wrong = layers.differences(broken, one_pass, *given)
    assert wrong["down.0.resnets.0"] > 100 * right["down.0.resnets.0"]


def test_int8_kernels_round_as_plain_jax_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert int8.check()["wrong"] == 0
    monkeypatch.setattr(integers, "to_int8", lambda x: jnp.clip(x, -127, 127).astype(jnp.int8))
    found = int8.check()
    assert found["wrong"] > 1000
    assert found["first"]["kernel"] != found["first"]["plain"]


def test_signal_to_noise_is_none_for_equal_images() -> None:
    image = np.full((4, 4, 3), 7, np.uint8)
    assert signal_to_noise(image, image) is None
    assert signal_to_noise(image, image + np.uint8(1)) == pytest.approx(20 * np.log10(255))


def test_describes_the_device() -> None:
    found = describe()
    assert (found["platform"], found["count"]) == ("cpu", len(jax.devices()))
    assert found["fingerprint"]["jax"] == jax.__version__
