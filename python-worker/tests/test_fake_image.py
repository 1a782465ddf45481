"""The fake engine's picture follows its formula."""

import hashlib
import zlib
from dataclasses import replace

import numpy as np
import pytest

from easel_worker.engine import ControlUse, EmbeddingUse, IpAdapterUse, LoraUse, Tokens
from easel_worker.fake.image import canonical_text, picture
from tests.support.samples import generate, spec_of, token_ids, with_pictures


def by_hand(text: str, width: int, height: int) -> bytes:
    """protocol/README.md's formula, pixel by pixel."""
    d = hashlib.sha256(text.encode()).digest()
    out = bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(3):
                i = 3 * x + c
                column = i * i * (d[0] | 1) + 257 * d[1]
                row = y * y * (d[2] | 1) + 257 * d[3] + 1
                noise = (column * row % 65536) >> 13
                across = (x * (1 + d[7 + c] % 4)) >> 2
                down = (y * (1 + d[10] % 4)) >> 2
                out.append((d[4 + c] + across + down + noise) % 256)
    out[:32] = d
    return bytes(out)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (1100, 7), (11, 700)])
def test_the_formula(width: int, height: int) -> None:
    assert picture("abc", width, height).tobytes() == by_hand("abc", width, height)


def test_the_text_names_every_field_of_the_spec() -> None:
    request = generate("a", 9, negative=token_ids(100), guidance=7.0625, clip_skip=2)
    text = canonical_text(spec_of(request, 9))
    ids, ids_2 = ",".join(map(str, range(1, 78))), ",".join(map(str, range(77, 0, -1)))
    no, no_2 = ",".join(map(str, range(100, 177))), ",".join(map(str, range(176, 99, -1)))
    assert text == f"{ids}|{ids_2}|{no}|{no_2}|9|4|7063|euler|64|48|2"


def test_the_text_names_refinements_that_are_not_neutral() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    full = generate("a", guidance_start=0.0, guidance_end=1.0)
    assert canonical_text(spec_of(full, 1)) == plain
    cached = generate("a", cache_interval=3)
    assert canonical_text(spec_of(cached, 1)) == f"{plain}|0|1000|3"
    forecast = generate("a", cache_interval=3, cache_order=1)
    assert canonical_text(spec_of(forecast, 1)) == f"{plain}|0|1000|3|cache_order=1"
    part = generate("a", guidance_start=0.2, guidance_end=0.8125)
    assert canonical_text(spec_of(part, 1)) == f"{plain}|200|813|1"


def test_rescaling_and_sizes_are_named_unless_neutral() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    assert canonical_text(spec_of(generate("a", crops_coords_top_left=(0, 0)), 1)) == plain
    rescaled = generate("a", guidance_rescale=0.7)
    text = canonical_text(spec_of(rescaled, 1))
    assert text == f"{plain}|conditions=700;-;0,0;-;-;0,0;-"
    sized = generate(
        "a",
        original_size=(512, 768),
        target_size=(1024, 640),
        negative_original_size=(1, 2),
        negative_crops_coords_top_left=(3, 4),
        negative_target_size=(5, 6),
    )
    text = canonical_text(spec_of(sized, 1))
    assert text == f"{plain}|conditions=0;512,768;0,0;1024,640;1,2;3,4;5,6"


def test_scores_are_named_unless_neutral() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    assert canonical_text(spec_of(generate("a", aesthetic_score=6.0), 1)) == plain
    scored = generate("a", aesthetic_score=7.25, guidance_rescale=0.7)
    text = canonical_text(spec_of(scored, 1))
    assert text == f"{plain}|conditions=700;-;0,0;-;-;0,0;-|scores=7250;2500"


def test_where_the_refiner_takes_over_is_named() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    text = canonical_text(spec_of(generate("a", denoising_end=0.8), 1))
    assert text == f"{plain}|denoising_end=800"


def test_loras_are_named_in_order() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    b, a = LoraUse("b", "1" * 64, 0.5, -1.0), LoraUse("a", "2" * 64, 1.0, 0.0)
    text = canonical_text(spec_of(generate("a", loras=(b, a)), 1))
    assert text == f"{plain}|loras=a,{a.digest},1000,0;b,{b.digest},500,-1000"


def test_embeddings_are_named_in_order() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    b, a = EmbeddingUse("b", "1" * 64, 500), EmbeddingUse("a", "2" * 64, 501)
    text = canonical_text(spec_of(generate("a", embeddings=(b, a)), 1))
    assert text == f"{plain}|embeddings=a,{a.digest},501;b,{b.digest},500"
    at_end = generate("a", embeddings=(b,), pooled_at_end=True)
    text = canonical_text(spec_of(at_end, 1))
    assert text == f"{plain}|embeddings=b,{b.digest},500|pooled_at_end"


def test_pictures_are_named_by_their_digests() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    request = with_pictures(generate("a", schedule_steps=10), "image", "mask")
    image, mask = (hashlib.sha256(frame).hexdigest() for frame in request.frames)
    text = canonical_text(spec_of(request, 1))
    assert text == f"{plain}|schedule_steps=10|pictures=image:{image};mask:{mask}"
    more = {"latents_upscaler": "latent-nearest", "output_type": "latent"}
    scaled = with_pictures(generate("a", **more), "latents")
    digest = hashlib.sha256(scaled.frames[0]).hexdigest()
    named = f"output_type=latent|latents_upscaler=latent-nearest|pictures=latents:{digest}"
    assert canonical_text(spec_of(scaled, 1)) == f"{plain}|{named}"
    whole = canonical_text(spec_of(with_pictures(generate("a", schedule_steps=4), "image"), 1))
    assert whole.startswith(f"{plain}|pictures=image:")


def test_controls_are_named_as_they_come() -> None:
    plain = canonical_text(spec_of(generate("a"), 1))
    b, a = ControlUse("b", "1" * 64, 0.5), ControlUse("a", "2" * 64, 1.0, 0.1, 0.75)
    style = IpAdapterUse("c", "3" * 64, 0.6)
    request = generate("a", controls=(b, a), ip_adapters=(style,), schedule_steps=10)
    request = with_pictures(request, "image", "control", "control", "ip_adapter")
    hashes = [hashlib.sha256(frame).hexdigest() for frame in request.frames]
    roles = "image", "control", "control", "ip_adapter"
    shown = ";".join(f"{role}:{digest}" for role, digest in zip(roles, hashes, strict=True))
    controls = f"controls=b,{b.digest},500,0,1000;a,{a.digest},1000,100,750"
    assert canonical_text(spec_of(request, 1)) == (
        f"{plain}|schedule_steps=10|{controls}|ip_adapters=c,{style.digest},600|pictures={shown}"
    )


def test_a_weighting_names_all_that_it_needs() -> None:
    prompt = replace(token_ids(), weights=(1.0, 1.3005, -0.5), masked=((1, 2), (3, 5)))
    plain = generate("a", negative=token_ids(100))
    weighted = replace(plain, prompt=prompt, weighting="a1111")
    expected = f"{canonical_text(spec_of(plain, 1))}|0|1000|1|a1111;1000,1301,-500;-;1-2,3-5;-"
    assert canonical_text(spec_of(weighted, 1)) == f"{expected};-;-;-;-;-;-;-;-"
    negative = replace(token_ids(100), weights_2=(2.0,), masked_2=(), pooled_ids_2=(7, 8))
    empty = Tokens((1, 2), (3,))
    compel = replace(weighted, negative=negative, weighting="compel", empty=empty)
    text = canonical_text(spec_of(compel, 1))
    assert text.endswith("|compel;1000,1301,-500;-;1-2,3-5;-;-;-;2000;-;;7,8;1,2;3")


def test_no_negative_prompt_is_a_dash() -> None:
    assert "|-|-|1|4|5000|" in canonical_text(spec_of(generate("a"), 1))


def test_a_picture_compresses_like_a_photo_and_not_like_noise() -> None:
    raw = picture("abc", 512, 512).reshape(512, -1).astype(np.int16)
    raw[:, 3:] -= raw[:, :-3].copy()  # PNG's Sub filter
    ratio = len(zlib.compress(raw.astype(np.uint8).tobytes(), 6)) / raw.size
    assert 0.3 < ratio < 0.6
