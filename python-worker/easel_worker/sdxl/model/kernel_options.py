"""Which kernels compute the expensive parts of the model. Only this module decides.

All options compute the same function and differ in speed and rounding. On CPUs the plain ones keep
float32 parity with diffusers. The options for TPUs were chosen by the compiler's cost estimates
(bench/tpu/README.md) and have not been run on a TPU yet; `plain` turns them off.
"""

from dataclasses import dataclass, replace

CHOICES = ("auto", "plain", "fast")


@dataclass(frozen=True)
class KernelOptions:
    """Options that apply where a kernel supports the shapes; elsewhere plain JAX is used.

    Attributes:
        attention_kernel: keep attention scores in the TPU's vector memory (`kernels.attention`).
        convolution_kernel: fuse norm, silu and convolution (`kernels.convolution`).
        linear_kernel: fuse norm, rounding and products of quantised layers
            (`kernels.int8_linear`, `kernels.int8_feed_forward`).
        one_pass_norms: compute mean and variance from the sums of x and x² in one pass.
        interpret: interpret the kernels on a CPU, for tests.
    """

    attention_kernel: bool = False
    convolution_kernel: bool = False
    linear_kernel: bool = False
    one_pass_norms: bool = False
    interpret: bool = False


PLAIN = KernelOptions()
FAST = KernelOptions(
    attention_kernel=True, convolution_kernel=True, linear_kernel=True, one_pass_norms=True
)


def choose(name: str, platform: str) -> KernelOptions:
    """The options for a value of METHODS: `auto` is fast on TPUs and plain elsewhere.

    `fast` is slow on other platforms, which must interpret the kernels.

    Args:
        name: one of `CHOICES`.
        platform: jax's name of the devices' platform.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in CHOICES:
        raise ValueError(f"methods is {name!r}: choose {', '.join(CHOICES)}")
    on_tpu = platform == "tpu"
    if name == "fast" or (name == "auto" and on_tpu):
        return replace(FAST, interpret=not on_tpu)
    return PLAIN
