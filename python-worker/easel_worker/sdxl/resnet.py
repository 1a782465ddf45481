"""Residual convolution blocks and changes of resolution, shared by the UNet and the VAE."""

from functools import partial

from jax import Array

from easel_worker.sdxl import layers, params
from easel_worker.sdxl.kernels import upsampling
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params, ParamTree


def declare(name: str, inputs: int, outputs: int, time_features: int | None) -> ParamTree:
    """A residual block from `inputs` to `outputs` channels.

    Args:
        name: its name in the checkpoint.
        inputs: channels in.
        outputs: channels out.
        time_features: size of the time embedding, None where there is no time (VAE).
    """
    tree: ParamTree = {
        "norm1": params.norm(f"{name}.norm1", inputs),
        "conv1": params.conv(f"{name}.conv1", inputs, outputs, 3),
        "norm2": params.norm(f"{name}.norm2", outputs),
        "conv2": params.conv(f"{name}.conv2", outputs, outputs, 3),
    }
    if time_features is not None:
        tree["time"] = params.linear(f"{name}.time_emb_proj", time_features, outputs)
    if inputs != outputs:
        tree["shortcut"] = params.linear(
            f"{name}.conv_shortcut", inputs, outputs, stored_as_conv=True
        )
    return tree


def apply(
    tree: Params,
    x: Array,
    time: Array | None,
    *,
    groups: int,
    eps: float,
    methods: Methods = PLAIN,
) -> Array:
    """x [B, H, W, in] → [B, H, W, out].

    Args:
        tree: parameters.
        x: image.
        time: time embedding after its silu [B, time features], or None.
        groups: of both norms.
        eps: of both norms.
        methods: how it is computed.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/resnet.py#L319
    """
    part = partial(layers.norm_silu_conv, groups=groups, eps=eps, methods=methods)
    offset = None if time is None else layers.linear(tree["time"], time)
    h = part(tree["norm1"], tree["conv1"], x, offset=offset)
    h = part(tree["norm2"], tree["conv2"], h)
    shortcut = layers.linear(tree["shortcut"], x) if "shortcut" in tree else x
    return shortcut + h


def downsample(tree: Params, x: Array, padding: layers.Padding) -> Array:
    """x [B, H, W, C] → half of its height and width, by a 3×3 convolution of stride 2.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/downsampling.py#L130
    """
    return layers.conv(tree, x, stride=2, padding=padding)


def upsample(
    tree: Params,
    x: Array,
    size: tuple[int, int] | None = None,
    *,
    methods: Methods = PLAIN,
) -> Array:
    """x [B, H, W, C] → twice its height and width, nearest neighbour, then a 3×3 convolution.

    Args:
        tree: the convolution's parameters.
        x: image.
        size: height and width to cut to, where halving had rounded an odd one up.
        methods: how it is computed.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/upsampling.py#L140
    """
    doubled = (2 * x.shape[1], 2 * x.shape[2])
    at_once = methods.convolution_kernel and size in {None, doubled}
    if at_once and upsampling.fits(x, tree["weight"]):
        interpret = methods.interpret
        return upsampling.convolve_upsampled(x, tree["weight"], tree["bias"], interpret=interpret)
    x = layers.upsample_nearest(x)
    if size is not None:
        x = x[:, : size[0], : size[1], :]
    return layers.conv(tree, x, methods=methods)
