"""Which kernels compute the expensive parts of the model. Only this module decides.

All options compute the same function and differ in speed and rounding. On CPUs the plain ones keep
float32 parity with diffusers. The options for TPUs were chosen by counts of the compiler's output
(bench/tpu/README.md) and have not been run on a TPU yet; `plain` turns them off.
"""

from dataclasses import dataclass

CHOICES = ("auto", "plain", "fast")


@dataclass(frozen=True)
class KernelOptions:
    """Options that apply where a kernel supports the shapes; elsewhere plain JAX is used.

    Attributes:
        attention_kernel: keep attention scores in the TPU's vector memory (`kernels.attention`),
            and fuse cross attention with the products around it (`kernels.cross_attention`).
        cudnn_attention: use cuDNN's attention, which never stores the scores; where it does not
            support the shapes, compute few queries at a time.
        convolution_kernel: fuse norm, silu and convolution (`kernels.convolution`).
        linear_kernel: fuse norm, rounding and products of quantised layers
            (`kernels.int8_linear`, `kernels.int8_feed_forward`).
        one_pass_norms: compute mean and variance from the sums of x and x² in one pass; group norms
            subtract a pixel first, and layer norms of float32 keep two passes.
        fitted_gelu: compute GELU in bfloat16 layers by tanh of a polynomial, 2.6e-5 off at most.
        interpret: interpret the kernels on a CPU, for tests.
    """

    attention_kernel: bool = False
    cudnn_attention: bool = False
    convolution_kernel: bool = False
    linear_kernel: bool = False
    one_pass_norms: bool = False
    fitted_gelu: bool = False
    interpret: bool = False


PLAIN = KernelOptions()
FAST = KernelOptions(
    attention_kernel=True,
    convolution_kernel=True,
    linear_kernel=True,
    one_pass_norms=True,
    fitted_gelu=True,
)
CUDNN = KernelOptions(cudnn_attention=True)

_FASTEST = {"tpu": FAST, "cuda": CUDNN}


def check(name: str) -> None:
    """Check a value of METHODS.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in CHOICES:
        raise ValueError(f"methods is {name!r}: choose {', '.join(CHOICES)}")


def choose(name: str, platform: str) -> KernelOptions:
    """The options for a value of METHODS: `auto` is `fast` where the platform has fast ones.

    Args:
        name: one of `CHOICES`.
        platform: what the devices are: `tpu`, `cuda`, `rocm` or `cpu`.

    Raises:
        ValueError: the name is unknown, or the platform has no fast options.
    """
    check(name)
    fastest = _FASTEST.get(platform)
    if name == "plain" or (name == "auto" and fastest is None):
        return PLAIN
    if fastest is None:
        raise ValueError(
            f"methods is 'fast', which is for TPUs and NVIDIA GPUs, and the devices are {platform}:"
            " choose auto or plain"
        )
    return fastest
