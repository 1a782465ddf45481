"""Requests become specs or are refused; capabilities become HELLO."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from easel_worker import protocol
from easel_worker.codec import pack, unpack
from easel_worker.engine import (
    Capabilities,
    ControlUse,
    EmbeddingUse,
    InvalidRequest,
    IpAdapterUse,
    LoraUse,
    Tokens,
)
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Options
from easel_worker.protocol import PictureForm
from easel_worker.specs import hello, specs
from easel_worker.values import Size
from tests.support.samples import SMALL, generate, spec_of, token_ids, with_pictures


def capabilities(**options: Any) -> Capabilities:
    return FakeEngine(Options(**{"sizes": (SMALL, Size(32, 32))} | options)).capabilities


def test_the_operator_can_name_the_model() -> None:
    assert hello(capabilities(), "w").model.id == "fake"
    named = hello(capabilities(), "w", "turbo").model
    assert named == replace(capabilities().model, id="turbo")


def test_one_spec_for_each_seed() -> None:
    request = generate("a", 3, 4, negative=token_ids(500), clip_skip=1)
    assert specs(request, capabilities()) == (spec_of(request, 3), spec_of(request, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 63}, "size 63x48 is not one of 64x48, 32x32"),
        ({"scheduler": "magic"}, "scheduler 'magic' is not one of euler, "),
        ({"steps": 1001}, "steps is 1001, but at most 1000 is allowed"),
        ({"cache_interval": 2}, "cache_interval is 2, but at most 1 is allowed"),
        ({"guidance": 50.5}, "guidance is 50.5, but at most 50.0 is allowed"),
        ({"seeds": tuple(range(17))}, "the number of seeds is 17, but at most 16"),
        ({"prompt": Tokens((1,), (1,) * 77)}, "prompt.ids has 1 ids, not a multiple of 77"),
        ({"prompt": Tokens((1,) * 77, (1,))}, "prompt.ids_2 has 1 ids, not a multiple of 77"),
        ({"negative": Tokens((1,) * 78, (1,) * 77)}, "negative.ids has 78 ids"),
    ],
)
def test_a_request_that_does_not_fit_names_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        specs(replace(generate("a"), **changes), capabilities())


def test_a_lora_is_here_if_its_file_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    having = capabilities(loras=tmp_path)
    a, b = (LoraUse(lora.name, lora.digest, 1.0, 0.5) for lora in having.loras)
    assert specs(generate("r", loras=(b, a)), having)[0].loras == (a, b)
    refused = {
        "the LoRA a with digest 0+ is not here: its digest is": (replace(a, digest="0" * 64),),
        "the LoRA c with digest .* is not here: it is gone": (replace(a, name="c"),),
        "loras names one LoRA twice": (a, replace(a, unet_weight=0.5)),
        "the number of loras is 5, but at most 4": (a,) * 5,
    }
    for message, loras in refused.items():
        with pytest.raises(InvalidRequest, match=message):
            specs(generate("r", loras=loras), having)


def test_an_embedding_is_here_if_its_file_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"3")
    having = capabilities(embeddings=tmp_path)
    a, b = (EmbeddingUse(each.name, each.digest, 500) for each in having.embeddings)
    b = replace(b, first_id=503)
    assert specs(generate("r", embeddings=(b, a)), having)[0].embeddings == (a, b)
    refused = {
        "the embedding a with digest 0+ is not here: its digest is": (replace(a, digest="0" * 64),),
        "the embedding c with digest .* is not here: it is gone": (replace(a, name="c"),),
        "embeddings names one embedding twice": (a, replace(a, first_id=600)),
        "the ids of the embedding b are also another one's": (a, replace(b, first_id=502)),
    }
    for message, embeddings in refused.items():
        with pytest.raises(InvalidRequest, match=message):
            specs(generate("r", embeddings=embeddings), having)
    with pytest.raises(InvalidRequest, match="does not support embeddings"):
        specs(generate("r", embeddings=(a,)), capabilities())


@pytest.mark.parametrize(
    "given",
    [
        {"negative_original_size": (512, 512)},
        {"negative_target_size": (512, 512)},
        {"negative_crops_coords_top_left": (0, 8)},
    ],
)
def test_negative_sizes_are_given_together(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="must be given together"):
        specs(generate("a", **given), capabilities())
    both = {"negative_original_size": (512, 512), "negative_target_size": (512, 512)}
    [spec] = specs(generate("a", 1, **both | given), capabilities())
    assert spec == spec_of(generate("a", 1, **both | given), 1)


def test_a_model_that_embeds_guidance_has_one_row() -> None:
    embedding = replace(capabilities(), features=("guidance_embedding",))
    [spec] = specs(generate("a", 1, guidance=7.5), embedding)
    assert (spec.rows, spec.guided, spec.guidance) == (1, False, 7.5)
    with pytest.raises(InvalidRequest, match="does not support guidance_interval"):
        specs(generate("a", guidance_start=0.5), embedding)


def test_specs_have_the_guidance_interval() -> None:
    request = generate("a", 3, 4, guidance_start=0.25, guidance_end=0.75)
    made = specs(request, capabilities())
    assert made == (spec_of(request, 3), spec_of(request, 4))
    assert made[0].guided_steps == range(1, 3)


def test_specs_have_the_cache_interval_up_to_the_limit() -> None:
    able = capabilities(max_cache_interval=3)
    assert specs(generate("a", 3, cache_interval=3), able)[0].cache_interval == 3
    with pytest.raises(InvalidRequest, match="cache_interval is 4, but at most 3 is allowed"):
        specs(generate("a", cache_interval=4), able)
    assert hello(able, "w1").limits.max_cache_interval == 3


def test_an_interval_that_ends_before_it_starts_is_invalid() -> None:
    with pytest.raises(
        InvalidRequest, match=r"guidance_start is 0\.5, which is after guidance_end, 0\.4"
    ):
        specs(generate("a", guidance_start=0.5, guidance_end=0.4), capabilities())


def test_an_engine_that_guides_all_steps_refuses_an_interval() -> None:
    old = replace(capabilities(), features=())
    with pytest.raises(InvalidRequest, match="leave out guidance_start and guidance_end"):
        specs(generate("a", guidance_end=0.5), old)
    assert specs(generate("a", guidance_start=0.0, guidance_end=1.0), old)


def test_an_image_without_guided_steps_needs_one_row() -> None:
    request = generate("a", guidance_start=0.5, guidance_end=0.5)
    assert [spec.rows for spec in specs(request, capabilities(rows=1))] == [1]


def test_a_guided_image_needs_two_rows() -> None:
    with pytest.raises(InvalidRequest, match="two rows"):
        specs(generate("a"), capabilities(rows=1))
    assert len(specs(generate("a", guidance=1.0), capabilities(rows=1))) == 1


def test_specs_have_the_pictures() -> None:
    request = with_pictures(generate("a", 3, 4, schedule_steps=9), "image", "mask")
    made = specs(request, capabilities())
    assert made == (spec_of(request, 3), spec_of(request, 4))
    image, mask = made[0].image, made[0].mask
    assert image is not None
    assert mask is not None
    assert (image.pixels.shape, mask.pixels.shape) == ((48, 64, 3), (48, 64, 1))
    assert [image.pixels.tobytes(), mask.pixels.tobytes()] == list(map(bytes, request.frames))
    assert made[0].skipped_steps == 5
    other = replace(request, frames=(memoryview(bytes(48 * 64 * 3)), request.frames[1]))
    assert specs(other, capabilities())[0] != made[0]


@pytest.mark.parametrize(
    ("roles", "changes", "message"),
    [
        (["mask", "image"], {}, "a mask comes after the image that it repaints"),
        (["mask"], {}, "a mask comes after the image that it repaints"),
        (["image", "image"], {}, "there are two pictures with the role 'image'"),
        (["image"], {"width": 32, "height": 32}, "the image must be 32x32 with 3 channels, and is"),
        (["control", "image"], {}, "the roles of pictures come in the order image, mask, latents"),
        (["latents"], {}, "latents_upscaler and a picture with the role latents need each other"),
        ([], {"latents_upscaler": "latent"}, "need each other"),
        (
            ["image", "latents"],
            {"latents_upscaler": "latent"},
            "the role image or latents, not both",
        ),
        (["latents", "latents"], {"latents_upscaler": "latent"}, "there are two pictures with the"),
        (["image", "control"], {}, "controls has 0 entries, so pictures .* control, and has 1"),
        (["ip_adapter"], {}, "ip_adapters has 0 entries, so pictures .* ip_adapter, and has 1"),
        (["image"], {"schedule_steps": 3}, "schedule_steps is 3, which is less than steps, 4"),
        (["image"], {"schedule_steps": 1001}, "schedule_steps is 1001, but at most 1000"),
        ([], {"schedule_steps": 5}, "needs a picture with the role image"),
    ],
)
def test_pictures_that_do_not_fit_are_named(
    roles: list[str], changes: dict[str, Any], message: str
) -> None:
    request = replace(with_pictures(generate("a"), *roles), **changes)
    if not roles:
        request = replace(request, pictures=UNSET)
    with pytest.raises(InvalidRequest, match=message):
        specs(request, capabilities())


def test_a_picture_has_the_channels_of_its_role() -> None:
    request = with_pictures(generate("a"), "image", "mask")
    assert request.pictures is not UNSET
    image, mask = request.pictures
    for forms, message in {
        (replace(mask, role="image"),): "the image must be 64x48 with 3 channels, .* with 1",
        (image, replace(image, role="mask")): "the mask must be 64x48 with 1 channels, .* with 3",
        (replace(image, role="style"),): "'style' is not one of image, mask, latents, control",
    }.items():
        frames = tuple(memoryview(bytes(form.bytes)) for form in forms)
        with pytest.raises(InvalidRequest, match=message):
            specs(replace(request, pictures=forms, frames=frames), capabilities())


def test_latents_have_a_size_of_their_own() -> None:
    more = {"latents_upscaler": "latent", "schedule_steps": 9, "output_type": "latent"}
    request = with_pictures(generate("a", **more), "latents")
    (spec,) = specs(request, capabilities())
    assert spec.latents is not None
    assert spec.latents.pixels.shape == (48, 64, 16)
    assert (spec.output_type, spec.skipped_steps) == ("latent", 5)
    form = PictureForm("latents", 1025, 1, 16)
    wide = replace(request, pictures=(form,), frames=(memoryview(bytes(form.bytes)),))
    with pytest.raises(InvalidRequest, match="the latents must have 16 channels and sides of at"):
        specs(wide, capabilities())
    able = capabilities()
    old = replace(able, features=tuple(each for each in able.features if each != "latents"))
    with pytest.raises(InvalidRequest, match="does not support latents: leave out latents and"):
        specs(request, old)


def test_a_model_that_only_changes_pictures_needs_one() -> None:
    able = capabilities()
    refiner = replace(able, features=(*able.features, "pictures_only"))
    with pytest.raises(InvalidRequest, match="makes none from text alone: send a picture"):
        specs(generate("a"), refiner)
    assert specs(with_pictures(generate("a"), "image"), refiner)


def test_a_control_is_here_with_a_picture_if_its_file_is(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    having = capabilities(controlnets=tmp_path, ip_adapters=tmp_path)
    a, b, c = (ControlUse(each.name, each.digest, 1.0) for each in having.controls)
    style = IpAdapterUse("a", a.digest, 0.5)

    def asked(*controls: ControlUse, styles: tuple[IpAdapterUse, ...] = ()) -> Any:
        request = generate("r", controls=controls or UNSET, ip_adapters=styles or UNSET)
        roles = ["control"] * len(controls) + ["ip_adapter"] * len(styles)
        return with_pictures(request, *roles)

    (spec,) = specs(asked(b, a, styles=(style,)), having)
    assert (spec.controls, spec.ip_adapters) == ((b, a), (style,))
    assert [len(spec.control_pictures), len(spec.ip_adapter_pictures)] == [2, 1]
    (twice,) = specs(asked(a, a), having)  # one net may follow two pictures
    assert twice.control_pictures[0] != twice.control_pictures[1]
    gone = replace(a, name="d")
    refused = {
        asked(a, b, c): "the number of controls is 3, but at most 2",
        asked(styles=(style, style)): "the number of ip_adapters is 2, but at most 1",
        asked(
            replace(a, digest=b.digest)
        ): f"the control a with digest .* its digest is {a.digest}",
        asked(gone): "the control d with digest .* is not here: it is gone",
        asked(styles=(replace(style, name="d"),)): "the IP-Adapter d with digest .* it is gone",
        asked(a, replace(b, start=0.5, end=0.5)): r"controls\[1\]: start is 0.5, .* end, 0.5",
        replace(asked(a), frames=(), pictures=UNSET): "controls has 1 entries, .* and has 0",
    }
    for request, message in refused.items():
        with pytest.raises(InvalidRequest, match=message):
            specs(request, having)
    with pytest.raises(InvalidRequest, match="does not support controls: leave out controls"):
        specs(asked(a), capabilities())


def test_an_ip_adapters_picture_has_a_size_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"a")
    having = capabilities(ip_adapters=tmp_path)
    (listed,) = having.ip_adapters
    style = IpAdapterUse("a", listed.digest, 0.5)

    def of(width: int, height: int, channels: int = 3) -> Any:
        form = protocol.PictureForm("ip_adapter", width, height, channels)
        frames = (memoryview(bytes(form.bytes)),)
        return replace(generate("r", ip_adapters=(style,)), pictures=(form,), frames=frames)

    assert specs(of(1024, 1), having)[0].ip_adapter_pictures[0].pixels.shape == (1, 1024, 3)
    for wrong in (of(1025, 1), of(1, 1025), of(8, 8, 1)):
        with pytest.raises(InvalidRequest, match="3 channels and sides of at most 1024, and is"):
            specs(wrong, having)


@pytest.mark.parametrize(
    ("start", "end", "steps", "kept"),
    [
        (0.0, 1.0, 3, [True, True, True]),
        (0.0, 0.5, 4, [True, True, False, False]),
        (0.0, 0.5, 3, [True, False, False]),  # diffusers leaves out a step that ends later
        (0.5, 1.0, 3, [False, False, True]),
        (0.0, 0.1, 5, [False] * 5),
    ],
)
def test_a_control_is_in_the_steps_that_lie_in_its_interval(
    start: float, end: float, steps: int, kept: list[bool]
) -> None:
    use = ControlUse("a", "0" * 64, 1.0, start, end)
    assert [use.in_step(step, steps) for step in range(steps)] == kept


def test_an_operator_may_leave_pictures_out() -> None:
    without = capabilities(image_inputs=False)
    assert not {"image_to_image", "inpainting"} & set(without.features)
    with pytest.raises(InvalidRequest, match="does not support image_to_image"):
        specs(with_pictures(generate("a"), "image"), without)
    masked = with_pictures(generate("a"), "image", "mask")
    with pytest.raises(InvalidRequest, match="does not support inpainting: leave out mask"):
        specs(masked, replace(without, features=("image_to_image",)))


def test_a_refiner_continues_what_it_can_show(tmp_path: Path) -> None:
    having = capabilities(refiner=tmp_path, embeddings=tmp_path, max_cache_interval=4)
    (spec,) = specs(generate("a", denoising_end=0.8), having)
    assert spec.refined_from == 0.8
    assert spec.refined_shape == spec.shape._replace(refined=True)
    with pytest.raises(InvalidRequest, match="does not support refiner: leave out denoising_end"):
        specs(generate("a", denoising_end=0.8), capabilities())
    refused = {
        "mask": with_pictures(generate("a", denoising_end=0.8), "image", "mask"),
        "cache_interval": generate("a", denoising_end=0.8, cache_interval=2),
    }
    for name, request in refused.items():
        with pytest.raises(InvalidRequest, match=f"{name} and denoising_end cannot be combined"):
            specs(request, having)
    assert specs(with_pictures(generate("a", denoising_end=0.8), "image"), having)


def test_hello_has_the_capabilities() -> None:
    message = hello(capabilities(rows=6), "w1")
    assert (message.worker, message.rows, message.sizes) == ("w1", 6, (SMALL, Size(32, 32)))
    assert [tokenizer.pad_id for tokenizer in message.tokenizers] == [49407, 0]
    assert unpack(pack(message), protocol.FROM_WORKER) == message
