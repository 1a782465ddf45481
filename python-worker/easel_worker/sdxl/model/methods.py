"""How the heavy parts of the model are computed: the one place that chooses.

Every choice computes the same thing; speed and the last bits differ. On a CPU the plain ones keep
float32 parity with diffusers. What is chosen for a TPU was chosen by what its compiler counts
(bench/tpu/README.md), and has not been run on one yet: `plain` is the way back.
"""

from dataclasses import dataclass, replace

CHOICES = ("auto", "plain", "fast")


@dataclass(frozen=True)
class Methods:
    """Choices, each of which applies where its shapes fit and is plain JAX elsewhere.

    Attributes:
        attention_kernel: scores stay in the TPU's vector memory (`kernels.attention`).
        convolution_kernel: norm, silu and convolution at once (`kernels.convolution`).
        linear_kernel: norm, rounding and products of quantised layers at once
            (`kernels.int8_linear`, `kernels.int8_feed_forward`).
        one_pass_norms: mean and variance from sums of x and x², read once.
        interpret: run the kernels on a CPU, to test them.
    """

    attention_kernel: bool = False
    convolution_kernel: bool = False
    linear_kernel: bool = False
    one_pass_norms: bool = False
    interpret: bool = False


PLAIN = Methods()
FAST = Methods(
    attention_kernel=True, convolution_kernel=True, linear_kernel=True, one_pass_norms=True
)


def choose(name: str, platform: str) -> Methods:
    """The methods of a choice: `auto` is fast on TPUs and plain elsewhere.

    What is fast on TPUs is slow elsewhere, where kernels have to be interpreted.

    Raises:
        ValueError: there is no such choice.
    """
    if name not in CHOICES:
        raise ValueError(f"methods is {name!r}: choose {', '.join(CHOICES)}")
    on_tpu = platform == "tpu"
    if name == "fast" or (name == "auto" and on_tpu):
        return replace(FAST, interpret=not on_tpu)
    return PLAIN
