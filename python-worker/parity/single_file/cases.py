"""The single files to compare. No torch."""

from dataclasses import dataclass

MIXED = "mixed"


@dataclass(frozen=True)
class File:
    """How a model is stored.

    Attributes:
        case: the name of the pipeline case.
        dtype: torch's name of the tensors' dtype, or `MIXED`.
        attention_as_conv: see `original_layout.single_file`.
    """

    case: str
    dtype: str
    attention_as_conv: bool = True

    @property
    def name(self) -> str:
        """The comparison's name."""
        return f"{self.case} in {self.dtype}"


FILES = (
    File("euler-unguided", "float32"),
    File("euler-unguided", "float8_e4m3fn", attention_as_conv=False),
    File("euler-v-prediction", MIXED),
)
