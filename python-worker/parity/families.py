"""The families of checkpoints that Easel serves, as the table in docs/models.md.

The table takes its differences from a run of `parity.live`, so that it cannot state more than
was compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from parity.report import Comparison

BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"

IMAGES = "of 255"
"""In the subjects of comparisons of whole images."""

THEIRS = "diffusers' loss"
"""In the subjects of comparisons of diffusers with itself, which say nothing of us."""

TRAILING = "timestep_spacing=trailing,prediction_type=epsilon"
ZERO_SNR = "rescale_betas_zero_snr=True,timestep_spacing=trailing,prediction_type=v_prediction"


@dataclass(frozen=True)
class Family:
    """Checkpoints that are served in one way.

    Attributes:
        name: what people call them.
        odd: how they differ from SDXL base.
        serve: what the operator sets.
        cases: the names of the comparisons that prove it.
    """

    name: str
    odd: str
    serve: str
    cases: tuple[str, ...]


FAMILIES = (
    Family(
        "SDXL base 1.0 and fine-tunes, diffusers folder",
        "nothing",
        "`MODEL=FOLDER`",
        ("sdxl-base-config", "sdxl-base-in-small", "euler", "euler-negative-prompt"),
    ),
    Family(
        "Fine-tunes as a single file",
        "original names; fp16, bf16, fp32, fp8 or mixed; no configs and tokenizers",
        "`MODEL=FILE.safetensors`",
        (
            "euler-unguided in float32",
            "euler-unguided in float8_e4m3fn",
            "euler-v-prediction in mixed",
        ),
    ),
    Family(
        "v-prediction fine-tunes (NoobAI-XL v-pred)",
        "`prediction_type: v_prediction`, zero terminal SNR, trailing spacing",
        "as above; in a single file the markers `v_pred` and `ztsnr`, or a config beside it",
        ("euler-v-prediction", "ddim-v-prediction", f"euler:{ZERO_SNR}"),
    ),
    Family(
        "SDXL Turbo",
        "512×512, 1 to 4 steps, no guidance, Euler ancestral, trailing spacing",
        "`MODEL=FOLDER`",
        (f"euler_ancestral:{TRAILING}",),
    ),
    Family(
        "SDXL Lightning",
        "a UNet by itself; 2, 4 or 8 steps, no guidance, Euler, trailing spacing",
        "`UNET=FILE.safetensors` over SDXL base",
        (f"euler:{TRAILING}",),
    ),
    Family(
        "Hyper-SD, DMD2 and merged LCM models",
        "few steps, no guidance; LCM, TCD or DDIM, some with own timesteps",
        "`UNET=…` over SDXL base, or `MODEL=…`",
        ("lcm", "tcd", "lcm:own timesteps", "tcd:own timesteps", "tcd:eta=1.0"),
    ),
    Family(
        "LCM-SDXL",
        "the guidance scale is an input of the UNet; no second row",
        "`UNET=FOLDER` over SDXL base",
        ("lcm-sdxl",),
    ),
    Family(
        "Playground v2.5",
        "EDM preconditioning; mean and deviation for each channel of the VAE",
        "`MODEL=FOLDER`, or the single file with `edm_mean` and `edm_std`",
        ("edm-dpm", "edm-euler", "edm_dpmpp_2m:"),
    ),
    Family(
        "CosXL",
        "EDM with v-prediction and its own range of sigmas",
        "`MODEL=FILE.safetensors`",
        (
            "edm_euler:prediction_type=v_prediction,sigma_data=1.0,sigma_max=120.0,"
            "sigma_schedule=exponential",
        ),
    ),
    Family(
        "SDXL inpainting 0.1 and other inpainting models",
        "9 input channels: the UNet takes the mask and the masked picture too",
        "`MODEL=…` as SDXL base, or `UNET=…` over it",
        (
            "inpainting",
            "inpainting euler text",
            "inpainting euler mask 0.6",
            "inpainting euler mask 1.0",
            "inpainting unipc mask 0.6",
        ),
    ),
    Family(
        "SDXL refiner 1.0",
        "one text encoder, aesthetic scores; changes pictures only",
        "`MODEL=…` as SDXL base",
        (
            "refiner",
            "refiner euler image 0.3",
            "refiner euler mask 0.6",
            "refiner-scores-and-sizes",
        ),
    ),
    Family(
        "SSD-1B",
        "a depth for each transformer; no attention in the middle block",
        "`MODEL=…` as SDXL base",
        ("ssd-1b",),
    ),
    Family("Segmind Vega", "as SSD-1B, and shallower", "`MODEL=…` as SDXL base", ("vega",)),
    Family(
        "KOALA 700M",
        "one layer in each level; no middle block",
        "`MODEL=…` as SDXL base",
        ("koala-700m",),
    ),
    Family("KOALA 1B", "one layer in each level", "`MODEL=…` as SDXL base", ("koala-1b",)),
)

HEADER = ("family", "what is odd", "how to serve it", "compared", "largest difference")


def table(comparisons: Iterable[Comparison]) -> str:
    """The families as a Markdown table, with the largest differences of their comparisons.

    Raises:
        ValueError: a family names a case that was not compared.
    """
    by_case: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if THEIRS in comparison.subject:
            continue
        by_case.setdefault(comparison.case, []).append(comparison)
    rows = [HEADER, ("---",) * len(HEADER), *(_row(family, by_case) for family in FAMILIES)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def insert(page: str, text: str) -> str:
    """Replace what stands between the marks of a page.

    Raises:
        ValueError: the page does not have the two marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def _row(family: Family, by_case: dict[str, list[Comparison]]) -> tuple[str, ...]:
    missing = [case for case in family.cases if case not in by_case]
    if missing:
        raise ValueError(f"{family.name}: not compared: {', '.join(missing)}")
    found = [comparison for case in family.cases for comparison in by_case[case]]
    cases = ", ".join(f"`{case}`" for case in family.cases)
    return family.name, family.odd, family.serve, cases, _largest(found)


def _largest(comparisons: list[Comparison]) -> str:
    """Images in 255ths, and everything else relative to its largest value."""
    images = [each.measured for each in comparisons if IMAGES in each.subject]
    others = [each.measured for each in comparisons if IMAGES not in each.subject]
    parts = []
    if images:
        parts.append(f"images {max(images):.0f}/255")
    if others:
        parts.append(f"numbers {max(others):.1e}")
    return ", ".join(parts)
