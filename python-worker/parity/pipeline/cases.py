"""Whole images to compare: a tiny model, its settings and the image's parameters. No torch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, Picture, Tokens
from easel_worker.values import Upscaler
from parity import cases, stub_tokenizer
from parity.cases import Case
from parity.schedulers.cases import EDM, EDM_SCHEDULERS, SCHEDULERS, SDXL

SDXL_SCHEDULER = {"_class_name": "EulerDiscreteScheduler", **SDXL}
"""The keys of SDXL base's scheduler_config.json that matter."""

V_PREDICTION = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


UNIPC = {"_class_name": "UniPCMultistepScheduler"}
"""Makes UniPC the default, so the engine also has the others that use two earlier predictions."""


@dataclass(frozen=True)
class Hires:
    """A second pass, from the latents of the first one.

    Attributes:
        upscaler: our name of how they are scaled.
        first: width and height of the first pass in latents.
    """

    upscaler: Upscaler
    first: tuple[int, int]


@dataclass(frozen=True)
class PipelineCase:
    """An image to make.

    Attributes:
        model: the tiny model's shape.
        scheduler: our name of the sampler.
        settings: changes to SDXL's scheduler configuration.
        size: width and height in latents.
        negative: the negative prompt, or None for none.
        more: further arguments, under the names that diffusers and our spec share. diffusers takes
            `timestep_spacing` as a setting of the scheduler.
        strength: of an image that begins from a picture; None to begin from noise.
        masked: whether it repaints only a part of the picture.
        hires: of the second pass of an image without a picture; `strength` is that pass's.
    """

    name: str
    model: Case
    scheduler: str = "euler"
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 8
    guidance: float = 5.0
    prompt: str = "a red circle on a blue background"
    negative: str | None = None
    clip_skip: int = 0
    more: dict[str, Any] = field(default_factory=dict)
    zeros_for_no_negative: bool = True
    size: tuple[int, int] = (8, 4)
    seed: int = 20
    strength: float | None = None
    masked: bool = False
    hires: "Hires | None" = None

    @property
    def first_pass(self) -> "PipelineCase":
        """The first pass of an image with a second one, whose latents that one begins from."""
        if self.hires is None:
            raise ValueError(f"{self.name} has one pass")
        return replace(self, size=self.hires.first, strength=None, hires=None)

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """Return the contents of scheduler_config.json."""
        return SDXL_SCHEDULER | self.settings

    @property
    def inpainting(self) -> bool:
        """Whether its model is an inpainting one."""
        return self.model.unet.get("in_channels", 4) > 4

    @property
    def refiner(self) -> bool:
        """Whether its model is one like SDXL's refiner."""
        return self.model.text_encoder is None

    @property
    def engine(self) -> str:
        """A key of the engine: cases with the same key differ only in their specs."""
        pictures = self.strength is not None or self.inpainting
        first = None if self.hires is None else self.hires.first
        own = self.zeros_for_no_negative, self.size, pictures, first
        return f"{self.model.name} {self.settings} {own}"

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height in pixels."""
        scale = 2 ** (len(self.model.vae["block_out_channels"]) - 1)
        return self.size[0] * scale, self.size[1] * scale

    def spec(self) -> ImageSpec:
        """Return the same image as our engine's spec."""
        width, height = self.pixels
        return ImageSpec(
            prompt=self.tokens(self.prompt),
            negative=None if self.negative is None else self.tokens(self.negative),
            seed=self.seed,
            **self._steps(),
            **self._pictures(),
            guidance=self.guidance,
            scheduler=self.scheduler,
            width=width,
            height=height,
            clip_skip=self.clip_skip,
            **self.more,
            guidance_embedding=self.model.unet.get("time_cond_proj_dim") is not None,
        )

    def _steps(self) -> dict[str, int]:
        """How many steps run, and of how many.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L652
        """
        if self.strength is None:
            return {"steps": self.steps}
        run = min(int(self.steps * self.strength), self.steps)
        return {"steps": run, "schedule_steps": self.steps}

    def _pictures(self) -> dict[str, Picture]:
        if self.strength is None or self.hires is not None:
            return {}
        image = Picture("image", self.picture())
        return (
            {"image": image, "mask": Picture("mask", self.mask())}
            if self.masked
            else {"image": image}
        )

    def picture(self) -> NDArray[np.uint8]:
        """Return the picture that the image begins from, [H, W, 3]: coarse colours with noise."""
        width, height = self.pixels
        generator = np.random.default_rng(self.seed + 1)
        coarse = generator.integers(0, 216, (height // 8, width // 8, 3))
        fine = generator.integers(0, 40, (height, width, 3))
        return (coarse.repeat(8, axis=0).repeat(8, axis=1) + fine).astype(np.uint8)

    def mask(self) -> NDArray[np.uint8]:
        """Return which parts to repaint, [H, W, 1]: another value for each pixel."""
        width, height = self.pixels
        generator = np.random.default_rng(self.seed + 2)
        return generator.integers(0, 256, (height, width, 1), dtype=np.uint8)

    def tokens(self, text: str) -> Tokens:
        """Return a text's ids for both encoders."""
        return Tokens(tuple(self.ids(text, "tokenizer")), tuple(self.ids(text, "tokenizer_2")))

    def ids(self, text: str, tokenizer: str) -> list[int]:
        """Return a text's ids for one encoder."""
        if self.refiner:  # it has the second one only
            tokenizer = "tokenizer_2"
        return stub_tokenizer.ids_of(text, tokenizer, *vocabulary_of(self.model, tokenizer))

    def noise(self) -> NDArray[np.float32]:
        """Return the noise that both sides start from, [h, w, 4]."""
        width, height = self.size
        generator = np.random.default_rng(self.seed)
        return generator.standard_normal((height, width, 4), dtype=np.float32)

    def posterior(self) -> NDArray[np.float32]:
        """Return the noise of the picture's latents on both sides, [h, w, 4]."""
        width, height = self.size
        generator = np.random.default_rng(self.seed + 3)
        return generator.standard_normal((height, width, 4), dtype=np.float32)

    def complete(self, folder: Path) -> None:
        """Add the other files that our engine reads to a folder with the model's parts."""
        for name in list(stub_tokenizer.PADS)[1 if self.refiner else 0 :]:
            stub_tokenizer.write(folder, name, *vocabulary_of(self.model, name))
        scheduler = folder / "scheduler" / "scheduler_config.json"
        scheduler.parent.mkdir(exist_ok=True)
        scheduler.write_text(json.dumps(self.scheduler_config))
        index = json.loads((folder / "model_index.json").read_text())
        index["force_zeros_for_empty_prompt"] = self.zeros_for_no_negative
        (folder / "model_index.json").write_text(json.dumps(index))
        width, height = self.pixels
        defaults = {"width": width, "height": height}
        (folder / "easel.json").write_text(json.dumps({"defaults": defaults}))


def vocabulary_of(model: Case, tokenizer: str) -> tuple[int, int]:
    """Return the vocabulary's size and a text's length, which both encoders must support."""
    encoders = model.first_text_encoder, model.text_encoder_2
    config = encoders[0 if tokenizer == "tokenizer" else 1]
    return config["vocab_size"], min(c["max_position_embeddings"] for c in encoders)


def _without_zeros(name: str, **more: Any) -> PipelineCase:
    return PipelineCase(name, CONV, zeros_for_no_negative=False, size=(8, 12), **more)


def _with_older(name: str, scheduler: str, **more: Any) -> PipelineCase:
    return PipelineCase(name, BASE, scheduler=scheduler, settings=UNIPC, **more)


def _predicting_v(name: str, **more: Any) -> PipelineCase:
    return PipelineCase(name, FOUR, settings=V_PREDICTION, **more)


TIMESTEPS = (990, 850, 700, 520, 380, 250, 120, 30)
SIGMAS = (12.0, 6.5, 3.8, 2.2, 1.3, 0.7, 0.3, 0.06, 0.0)
"""Both uneven on purpose; eight steps."""

BASE, CONV, FOUR = cases.SDXL_BASE_IN_SMALL, cases.CONV_PROJECTION, cases.FOUR_LEVELS
INPAINTING, REFINER = cases.INPAINTING, cases.REFINER

PIPELINE_CASES = (
    PipelineCase("euler", BASE, steps=20),
    PipelineCase("euler-unguided", BASE, guidance=1.0),
    PipelineCase("euler-negative-prompt", BASE, negative="blurry and dark"),
    PipelineCase("euler-empty-negative-prompt", BASE, negative=""),
    PipelineCase("ancestral-clip-skip", BASE, scheduler="euler_ancestral", clip_skip=1),
    PipelineCase(
        "dpm-karras-clip-skip-negative-prompt",
        BASE,
        scheduler="dpmpp_2m_karras",
        steps=16,
        clip_skip=1,
        negative="blurry",
    ),
    _without_zeros("no-zeros-for-no-negative", scheduler="euler_karras"),
    _without_zeros("dpm-single-step", scheduler="dpmpp_2m", steps=1),
    _predicting_v("ddim-v-prediction", scheduler="ddim"),
    _predicting_v("euler-v-prediction", steps=12, negative="red"),
    PipelineCase("guidance-rescale", BASE, guidance=9.0, more={"guidance_rescale": 0.7}),
    _predicting_v("guidance-rescale-v-prediction", more={"guidance_rescale": 1.0}),
    PipelineCase(
        "micro-conditioning",
        BASE,
        more={
            "original_size": (40, 80),
            "crops_coords_top_left": (8, 4),
            "target_size": (512, 1024),
        },
    ),
    PipelineCase(
        "negative-micro-conditioning",
        BASE,
        negative="dark",
        more={
            "negative_original_size": (512, 768),
            "negative_crops_coords_top_left": (0, 16),
            "negative_target_size": (1024, 640),
        },
    ),
    *(
        PipelineCase(model.name, model, steps=4, guidance=4.0, negative="dark")
        for model in cases.SIBLINGS
    ),
    PipelineCase("heun", BASE, scheduler="heun", steps=5),
    PipelineCase("dpm2-ancestral", BASE, scheduler="dpm2_ancestral_karras", steps=5),
    PipelineCase("dpm-sde", BASE, scheduler="dpmpp_2m_sde_karras"),
    PipelineCase("dpm-singlestep", BASE, scheduler="dpmpp_2s"),
    PipelineCase("ddpm", BASE, scheduler="ddpm"),
    PipelineCase("lcm", BASE, scheduler="lcm", steps=4, guidance=1.0),
    PipelineCase("tcd", BASE, scheduler="tcd", steps=4, guidance=1.0),
    PipelineCase("ddim-eta", BASE, scheduler="ddim", more={"eta": 0.5}),
    PipelineCase("euler-timesteps", BASE, more={"timesteps": TIMESTEPS}),
    PipelineCase("euler-sigmas", BASE, more={"sigmas": SIGMAS}),
    PipelineCase(
        "dpm-timestep-spacing",
        BASE,
        scheduler="dpmpp_2m",
        guidance=1.0,
        more={"timestep_spacing": "trailing"},
    ),
    _with_older("unipc", "unipc"),
    _with_older("unipc-negative-prompt", "unipc_karras", steps=16, negative="blurry"),
    _with_older("unipc-unguided", "unipc", guidance=1.0, more={"timestep_spacing": "trailing"}),
    _with_older("dpm-third-order", "dpmpp_3m_karras", steps=16),
    _with_older(
        "dpm-third-order-unguided", "dpmpp_3m", guidance=1.0, more={"timesteps": TIMESTEPS}
    ),
    _with_older("dpm-third-order-sde", "dpmpp_3m_sde_exponential", steps=16, negative="dark"),
    _with_older(
        "dpm-third-order-sde-unguided",
        "dpmpp_3m_sde",
        guidance=1.0,
        more={"timestep_spacing": "linspace"},
    ),
    # Playground v2.5: EDM, and a VAE with a mean and a standard deviation for each channel.
    PipelineCase("edm-dpm", FOUR, scheduler="edm_dpmpp_2m", settings=EDM, guidance=3.0),
    PipelineCase("edm-euler", FOUR, scheduler="edm_euler", settings=EDM, guidance=3.0),
)

STRENGTHS = (0.3, 0.6, 0.85, 1.0)


def picture_cases() -> Iterator[PipelineCase]:
    """Images that begin from a picture, and images that repaint a part of it.

    All samplers, at all strengths, with and without a mask.
    """
    for scheduler in (*SCHEDULERS, *EDM_SCHEDULERS):
        for strength, masked in product(STRENGTHS, (False, True)):
            yield _from_picture(scheduler, strength, masked=masked)


def _from_picture(scheduler: str, strength: float, *, masked: bool) -> PipelineCase:
    edm = scheduler in EDM_SCHEDULERS
    # A third-order default makes the engine offer it, and changes the others of diffusers' class.
    third = {"solver_order": 3} if scheduler == "edm_dpmpp_3m" else {}
    settings = EDM | third if edm else UNIPC
    return PipelineCase(
        f"{'inpaint' if masked else 'image'} {scheduler} {strength}",
        FOUR if edm else BASE,
        scheduler=scheduler,
        settings=settings,
        guidance=1.0 if scheduler in ("lcm", "tcd") else 3.0,
        strength=strength,
        masked=masked,
    )


def _golden_pictures() -> Iterator[PipelineCase]:
    """Each of the plain samplers once, and what only images from pictures have in combination."""
    plain = (name for name in (*SCHEDULERS, *EDM_SCHEDULERS) if not name.endswith(_SPACED))
    for number, scheduler in enumerate(plain):
        strength = STRENGTHS[number // 2 % len(STRENGTHS)]
        yield _from_picture(scheduler, strength, masked=number % 2 == 1)
    yield replace(
        _from_picture("euler", 0.6, masked=True),
        name="inpaint-negative-prompt-rescale",
        negative="blurry",
        more={"guidance_rescale": 0.7},
    )
    yield replace(
        _from_picture("dpmpp_2m", 0.6, masked=False),
        name="image-timesteps",
        more={"timesteps": TIMESTEPS},
    )


def inpainting_cases() -> Iterator[PipelineCase]:
    """Images of an inpainting model: from text, and from a picture with a mask and without one.

    diffusers has only its inpainting pipeline for such a model. Without a mask it gets a white one,
    and for an image from text full strength too, with which it takes nothing from the picture.
    """
    for scheduler in INPAINTING_SCHEDULERS:
        yield _inpainting(scheduler, strength=None)
        for strength, masked in product(STRENGTHS, (False, True)):
            yield _inpainting(scheduler, strength=strength, masked=masked)
    yield replace(
        _inpainting("euler", strength=0.6, masked=True),
        name="inpainting-negative-prompt-rescale",
        negative="blurry",
        more={"guidance_rescale": 0.7},
    )
    yield replace(
        _inpainting("dpmpp_2m", strength=0.85, masked=True),
        name="inpainting-unguided",
        guidance=1.0,
    )


def refiner_cases() -> Iterator[PipelineCase]:
    """Images of SDXL's refiner in small, which begin from pictures, with and without a mask."""
    plain = PipelineCase(
        "", REFINER, guidance=3.0, zeros_for_no_negative=False, settings=UNIPC, strength=0.3
    )
    for scheduler in ("euler", "dpmpp_2m_karras", "heun", "ddim", "unipc"):
        for strength, masked in product(STRENGTHS, (False, True)):
            kind = "mask" if masked else "image"
            name = f"refiner {scheduler} {kind} {strength}"
            yield replace(plain, name=name, scheduler=scheduler, strength=strength, masked=masked)
    yield replace(plain, name="refiner-unguided", guidance=1.0, more={"aesthetic_score": 3.25})
    yield replace(
        plain,
        name="refiner-scores-and-sizes",
        negative="blurry",
        clip_skip=1,
        strength=0.6,
        more={
            "aesthetic_score": 9.5,
            "negative_aesthetic_score": 0.0,
            "original_size": (40, 80),
            "crops_coords_top_left": (8, 4),
        },
    )
    yield replace(
        plain,
        name="refiner-negative-sizes",
        negative="dark",
        strength=0.85,
        more={
            "negative_original_size": (512, 768),
            "negative_crops_coords_top_left": (0, 16),
            "negative_target_size": (1024, 640),
        },
    )
    yield replace(plain, name="refiner-zeros", zeros_for_no_negative=True, strength=0.6)


INPAINTING_SCHEDULERS = (
    "euler",
    "euler_ancestral",
    "dpmpp_2m_karras",
    "dpmpp_2m_sde",
    "heun",
    "dpm2_ancestral",
    "ddim",
    "ddpm",
    "unipc",
    "lcm",
)


def _inpainting(scheduler: str, *, strength: float | None, masked: bool = False) -> PipelineCase:
    kind = "text" if strength is None else f"{'mask' if masked else 'image'} {strength}"
    return PipelineCase(
        f"inpainting {scheduler} {kind}",
        INPAINTING,
        scheduler=scheduler,
        settings=UNIPC,
        guidance=1.0 if scheduler == "lcm" else 3.0,
        strength=strength,
        masked=masked,
    )


_SPACED = ("_karras", "_exponential", "_beta")

PICTURE_CASES = tuple(_golden_pictures())
"""Those of which the golden file has images."""

INPAINTING_CASES = tuple(
    case for number, case in enumerate(inpainting_cases()) if number % 4 == 0 or case.more
)
"""The same for inpainting models."""

REFINER_CASES = tuple(
    case for number, case in enumerate(refiner_cases()) if number % 5 == 0 or "-" in case.name
)
"""The same for the refiner."""


def hires_cases() -> Iterator[PipelineCase]:
    """Images with a second pass that begins from scaled latents: all modes, also made smaller."""
    plain = PipelineCase("", BASE, guidance=3.0, settings=UNIPC, size=(12, 12))
    samplers = "euler", "dpmpp_2m_karras", "ddim", "heun", "euler_ancestral", "unipc"
    for upscaler, scheduler, strength in zip(get_args(Upscaler), samplers, _HIRES, strict=True):
        for first in ((8, 8), (14, 9)):
            name = f"hires {upscaler} {scheduler} {strength} from {first[0]}x{first[1]}"
            hires = Hires(upscaler, first)
            yield replace(plain, name=name, scheduler=scheduler, strength=strength, hires=hires)


_HIRES = (0.7, 0.3, 0.6, 0.85, 1.0, 0.5)

HIRES_CASES = tuple(hires_cases())
