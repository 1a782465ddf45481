"""Writes protocol/golden/: a file for each kind of message, and for each kind of invalid one.

    python -m tests.make_golden        (in python-worker/)

A file has `name`, `direction` (`to-gateway` or `to-worker`), `frames` (base64), and either
`valid: true` with `kind` and `message` (the parsed header), or `valid: false` with `error`, the
code of easel_worker.codec.BadMessage.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from easel_worker import protocol as p
from easel_worker.codec import pack, unpack
from easel_worker.engine import DeviceMemory

FOLDER = Path(__file__).parents[2] / "protocol" / "golden"
DIGEST = "0123456789abcdef" * 4
PIXELS = bytes(range(2 * 3 * 3))

Golden = dict[str, Any]
Frames = list[bytes]
Header = dict[str, Any]


def header_of(message: p.Message) -> Header:
    """Return the header as it is written."""
    return json.loads(bytes(pack(message)[1]))


def _read(kind: type[p.Message], header: Header) -> Any:
    pictures = [_picture(form) for form in header.get("pictures", ())]
    states = [_state(form) for form in header.get("states", ())]
    version = p.VERSION_WITH_PICTURES if pictures else p.VERSION
    prefix = bytes((kind.kind, p.VERSION_WITH_STATES if states else version))
    return unpack([prefix, _json(header), *pictures, *states], p.FROM_WORKER | p.FROM_GATEWAY)


def _picture(form: Header) -> bytes:
    """Pixels of this form, different for each role."""
    count = form["width"] * form["height"] * form["channels"]
    return bytes((i * 7 + len(form["role"])) % 256 for i in range(count))


def _state(form: Header) -> bytes:
    """Bytes of this form's length, different for each image."""
    return bytes((i * 11 + form["image"]) % 256 for i in range(form["bytes"]))


def _json(header: Header) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


HELLO_HEADER: Header = {
    "protocol": 1,
    "worker": "worker-0",
    "version": "0.1.0",
    "pid": 4711,
    "model": {"id": "demo", "digest": DIGEST, "dtype": "float32"},
    "tokenizers": [
        {"digest": DIGEST, "pad_id": 49407, "max_length": 77},
        {"digest": DIGEST, "pad_id": 0, "max_length": 77},
    ],
    "sizes": [[1024, 1024], [768, 512]],
    "rows": 8,
    "schedulers": ["euler", "ddim"],
    "defaults": {
        "width": 1024,
        "height": 1024,
        "num_inference_steps": 40,
        "guidance_scale": 5.0,
        "scheduler": "euler",
        "negative_prompt": "",
    },
    "limits": {"max_steps": 150, "max_guidance_scale": 30.0, "max_images": 8},
    "devices": [{"id": 0, "kind": "TPU v5 lite"}],
    "programs": [{"name": "denoise-1024x1024-8", "seconds": 41.5, "cached": False}],
}
LORA: Header = {"name": "styles/ink", "digest": DIGEST, "kind": "lora"}
FULL_LORA: Header = LORA | {
    "rank": 32,
    "parts": ["unet", "text_encoder"],
    "trigger_words": ["ink drawing"],
    "base_model": "sdxl_base_v1-0",
    "preset": "lightning-4",
}
LORA_USE: Header = {
    "name": "styles/ink",
    "digest": DIGEST,
    "unet_weight": 0.8,
    "text_weight": -0.5,
}
EMBEDDING: Header = {"name": "styles/ink", "digest": DIGEST, "vectors": 2}
EMBEDDING_USE: Header = {"name": "styles/ink", "digest": DIGEST, "first_id": 49408}
CONTROL: Header = {"name": "canny", "digest": DIGEST, "kind": "controlnet"}
CONTROL_USE: Header = {"name": "canny", "digest": DIGEST, "scale": 0.5, "start": 0, "end": 0.8}
IP_ADAPTER: Header = {"name": "plus", "digest": DIGEST, "tokens": 16}
IP_ADAPTER_USE: Header = {"name": "plus", "digest": DIGEST, "scale": 0.6}
TOKENS: Header = {"ids": [49406, 320, 736, 49407], "ids_2": [49406, 320, 736, 49407, 0]}
WEIGHTED: Header = TOKENS | {
    "weights": [1.0, 1.3, -0.5, 1.0],
    "weights_2": [1000.0, 1.0, 1.0, 0.0, 1.0],
}
MASKED: Header = WEIGHTED | {
    "masked": [[1, 2], [2, 3]],
    "masked_2": [[3, 5]],
    "pooled_ids_2": [49406, 1, 49407, 0, 0],
}
GENERATE_HEADER: Header = {
    "id": "7f3a.1",
    "prompt": TOKENS,
    "negative": TOKENS,
    "seeds": [0, 4294967295],
    "steps": 40,
    "guidance": 7.5,
    "scheduler": "euler",
    "width": 1024,
    "height": 768,
    "clip_skip": 1,
    "preview_every": 5,
    "timeout_ms": 30000.0,
    "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
LEAST_HEADER: Header = {
    "id": "r",
    "prompt": TOKENS,
    "negative": None,
    "seeds": [7],
    "steps": 1,
    "guidance": 0.0,
    "scheduler": "ddim",
    "width": 512,
    "height": 512,
    "clip_skip": 0,
    "preview_every": 0,
}
IMAGE: Header = {"role": "image", "width": 3, "height": 2, "channels": 3}
MASK: Header = {"role": "mask", "width": 3, "height": 2, "channels": 1}
LATENTS: Header = {"role": "latents", "width": 2, "height": 3, "channels": 16}
SMALL: Header = {"width": 3, "height": 2}
CONTROL_PICTURE: Header = IMAGE | {"role": "control"}
STYLE: Header = {"role": "ip_adapter", "width": 2, "height": 4, "channels": 3}
STATE: Header = {"image": 1, "step": 12, "evaluation": 23, "bytes": 5, "digest": DIGEST}
CACHING = {"limits": HELLO_HEADER["limits"] | {"max_cache_interval": 5}}
PROMPTS = {
    "limits": HELLO_HEADER["limits"] | {"max_clip_skip": 10, "max_chunks": 4},
    "features": ["prompt_weights"],
}
FEATURES = {"features": ["guidance_interval", "a_feature_of_the_future"]}
PRESETS = [
    {
        "name": "lightning-4",
        "num_inference_steps": 4,
        "guidance_scale": 0.0,
        "scheduler": "euler",
        "timestep_spacing": "trailing",
    },
    {
        "name": "dmd2",
        "num_inference_steps": 4,
        "guidance_scale": 0.0,
        "scheduler": "lcm",
        "timesteps": [999, 749, 499, 249],
    },
    {
        "name": "tcd",
        "num_inference_steps": 4,
        "guidance_scale": 0.0,
        "scheduler": "tcd",
        "eta": 0.3,
    },
    {
        "name": "a_preset_of_the_future",
        "num_inference_steps": 2,
        "guidance_scale": 1.5,
        "scheduler": "euler",
        "sigmas": [14.6, 3.1, 0.0],
    },
]
WRITTEN: dict[str, tuple[type[p.Message], Header]] = {
    "hello": (p.Hello, HELLO_HEADER),
    "hello-family": (
        p.Hello,
        HELLO_HEADER | {"model": HELLO_HEADER["model"] | {"family": "sdxl"}},
    ),
    "hello-refiner": (
        p.Hello,
        HELLO_HEADER
        | {
            "model": HELLO_HEADER["model"] | {"refiner": "sd_xl_refiner_1.0"},
            "features": ["refiner", "aesthetic_score"],
        },
    ),
    "hello-coming": (p.Hello, HELLO_HEADER | {"coming": [[512, 512], [640, 384]]}),
    "hello-coming-prompts": (
        p.Hello,
        HELLO_HEADER | {"coming_features": ["prompt_weights"], "coming_max_chunks": 4},
    ),
    "hello-caching": (p.Hello, HELLO_HEADER | CACHING),
    "hello-prompts": (p.Hello, HELLO_HEADER | PROMPTS),
    "hello-features": (p.Hello, HELLO_HEADER | FEATURES),
    "hello-presets": (p.Hello, HELLO_HEADER | {"presets": PRESETS}),
    "hello-second-order": (p.Hello, HELLO_HEADER | {"second_order": ["euler"]}),
    "hello-unspaced": (p.Hello, HELLO_HEADER | {"unspaced": ["euler"]}),
    "hello-loras": (
        p.Hello,
        HELLO_HEADER
        | {
            "limits": HELLO_HEADER["limits"] | {"max_loras": 4},
            "features": ["loras"],
            "loras": [LORA, FULL_LORA | {"name": "styles/oil"}],
        },
    ),
    "hello-embeddings": (
        p.Hello,
        HELLO_HEADER
        | {"features": ["embeddings"], "embeddings": [EMBEDDING, EMBEDDING | {"name": "wash"}]},
    ),
    "hello-controls": (
        p.Hello,
        HELLO_HEADER
        | {
            "limits": HELLO_HEADER["limits"] | {"max_controls": 2},
            "features": ["controls", "ip_adapters"],
            "controls": [CONTROL, CONTROL | {"name": "depth", "kind": "t2i-adapter"}],
            "ip_adapters": [IP_ADAPTER],
        },
    ),
    "hello-state-kind": (p.Hello, HELLO_HEADER | {"state_kind": DIGEST}),
    "generate": (p.Generate, GENERATE_HEADER),
    "generate-max-state-bytes": (p.Generate, GENERATE_HEADER | {"max_state_bytes": 16 << 20}),
    "generate-states": (
        p.Generate,
        GENERATE_HEADER | {"states": [STATE, STATE | {"image": 0, "bytes": 3}]},
    ),
    "generate-states-and-pictures": (
        p.Generate,
        GENERATE_HEADER | SMALL | {"pictures": [IMAGE, MASK], "states": [STATE]},
    ),
    "generate-loras": (p.Generate, GENERATE_HEADER | {"loras": [LORA_USE]}),
    "generate-embeddings": (
        p.Generate,
        GENERATE_HEADER
        | {
            "negative": {"ids": [49406, 49408, 49407], "ids_2": [49406, 49408, 49409, 49407]},
            "embeddings": [EMBEDDING_USE],
            "pooled_at_end": True,
        },
    ),
    "generate-least": (p.Generate, LEAST_HEADER),
    "generate-tenant": (p.Generate, GENERATE_HEADER | {"tenant": {"id": 3, "weight": 0.5}}),
    "generate-schedule": (
        p.Generate,
        GENERATE_HEADER | {"timesteps": [999, 500, 20], "timestep_spacing": "trailing", "eta": 0.3},
    ),
    "generate-sigmas": (p.Generate, GENERATE_HEADER | {"sigmas": [14.6, 3.1, 0.0]}),
    "generate-guidance-interval": (
        p.Generate,
        GENERATE_HEADER | {"guidance_start": 0.2, "guidance_end": 1.0},
    ),
    "generate-cache-interval": (p.Generate, GENERATE_HEADER | {"cache_interval": 3}),
    "generate-conditions": (
        p.Generate,
        GENERATE_HEADER
        | {
            "guidance_rescale": 0.7,
            "original_size": [768, 512],
            "crops_coords_top_left": [0, 16],
            "target_size": [1024, 640],
            "negative_original_size": [256, 256],
            "negative_crops_coords_top_left": [8, 0],
            "negative_target_size": [512, 512],
        },
    ),
    "generate-aesthetic-scores": (
        p.Generate,
        GENERATE_HEADER | {"aesthetic_score": 8.5, "negative_aesthetic_score": 0},
    ),
    "generate-refined": (p.Generate, GENERATE_HEADER | {"denoising_end": 0.8}),
    "generate-image": (
        p.Generate,
        GENERATE_HEADER | SMALL | {"steps": 12, "schedule_steps": 40, "pictures": [IMAGE]},
    ),
    "generate-latent-output": (p.Generate, GENERATE_HEADER | {"output_type": "latent"}),
    "generate-latents": (
        p.Generate,
        GENERATE_HEADER
        | {
            "steps": 12,
            "schedule_steps": 40,
            "latents_upscaler": "latent-nearest-exact",
            "pictures": [LATENTS],
        },
    ),
    "generate-mask": (p.Generate, GENERATE_HEADER | SMALL | {"pictures": [IMAGE, MASK]}),
    "generate-controls": (
        p.Generate,
        GENERATE_HEADER
        | SMALL
        | {
            "controls": [CONTROL_USE, {"name": "depth", "digest": DIGEST, "scale": 1}],
            "ip_adapters": [IP_ADAPTER_USE],
            "pictures": [IMAGE, MASK, CONTROL_PICTURE, CONTROL_PICTURE, STYLE],
        },
    ),
    "generate-a1111": (
        p.Generate,
        GENERATE_HEADER | {"prompt": WEIGHTED, "weighting": "a1111"},
    ),
    "generate-compel": (
        p.Generate,
        GENERATE_HEADER
        | {"prompt": TOKENS, "negative": MASKED, "weighting": "compel", "empty": TOKENS},
    ),
}
"""Headers without some optional fields, all of which Python would write."""

READ: dict[str, Any] = {name: _read(*written) for name, written in WRITTEN.items()}
HELLO, GENERATE = READ["hello"], READ["generate"]

HEARTBEAT = p.Heartbeat(
    "gateway.1", 128, 4, 2, 3, (101.5, 99.25), (DeviceMemory(0, 7 << 30, 16 << 30),)
)
USED = p.Used(encode_ms=10.5, denoise_ms=2000.125, decode_ms=80.0)
TIMINGS = p.Timings(queue_ms=1.5, encode_ms=20.0, denoise_ms=4000.25, decode_ms=80.0)

GOOD_TO_GATEWAY: dict[str, p.FromWorker] = {
    **{name: READ[name] for name in WRITTEN if name.startswith("hello")},
    "heartbeat": HEARTBEAT,
    "heartbeat-sizes": replace(HEARTBEAT, sizes=((1024, 1024), (768, 512), (512, 512))),
    "heartbeat-features": replace(HEARTBEAT, features=("prompt_weights",), max_chunks=2),
    "heartbeat-loras": replace(HEARTBEAT, loras=READ["hello-loras"].loras),
    "heartbeat-embeddings": replace(
        HEARTBEAT, loras=(), embeddings=READ["hello-embeddings"].embeddings
    ),
    "heartbeat-controls": replace(
        HEARTBEAT,
        features=("controls", "ip_adapters"),
        controls=READ["hello-controls"].controls,
        ip_adapters=READ["hello-controls"].ip_adapters,
    ),
    "heartbeat-coming": replace(
        HEARTBEAT,
        sizes=((1024, 1024),),
        max_chunks=1,
        coming=((768, 512),),
        coming_features=("prompt_weights",),
        coming_max_chunks=2,
    ),
    "heartbeat-lora-sets": replace(HEARTBEAT, lora_sets=p.LoraSets(2, 7, 3.25, 1)),
    "heartbeat-used": replace(HEARTBEAT, used=p.Busy(busy_ms=1234.5, padding_ms=10.25)),
    "heartbeat-not-finite": replace(HEARTBEAT, not_finite=p.NotFiniteTotals(1, 20, 0)),
    "heartbeat-idle": p.Heartbeat("gateway.1", 0, 0, 0, 0, (), ()),
    "progress": p.Progress("7f3a.1", 0, "denoising", 12, 40),
    "progress-preview": p.Progress("7f3a.1", 1, "denoising", 15, 40, p.PreviewSize(3, 2), PIXELS),
    "result": p.Result("7f3a.1", 1, 4294967295, 3, 2, TIMINGS, PIXELS),
    "result-used": p.Result("7f3a.1", 1, 4294967295, 3, 2, TIMINGS, PIXELS, USED),
    "result-latents": p.Result(
        "7f3a.1", 1, 7, 3, 2, TIMINGS, bytes(range(32)), latents=p.LatentsForm(2, 1, 16)
    ),
    "failed-used": p.Failed("7f3a.1", "cancelled", "cancelled by the gateway", USED),
    "failed-states": p.Failed(
        "7f3a.1",
        "draining",
        "the worker got a signal",
        USED,
        (
            p.StateForm(0, 3, 3, 4, DIGEST, p.Used(denoise_ms=300.0)),
            p.StateForm(1, 2, 3, 2, DIGEST),
        ),
        (memoryview(b"abcd"), memoryview(b"ef")),
    ),
    "failed-state": p.Failed("7f3a.1", "state", "the state of image 0 is damaged"),
    "failed": p.Failed("7f3a.1", "invalid", "größer als erlaubt: 4096×4096"),
    "bye": p.Bye("the worker got a signal"),
}
GOOD_TO_WORKER: dict[str, p.FromGateway] = {
    "welcome": p.Welcome("gateway.1", 1000.0),
    "refused": p.Refused("tokenizer", "other tokenizers than the gateway's model"),
    "refused-model": p.Refused("model", "a worker of another model"),
    "refused-for-a-reason-of-the-future": p.Refused("a_code_of_the_future", "no"),
    "ping": p.Ping("gateway.1"),
    **{name: READ[name] for name in WRITTEN if name.startswith("generate")},
    "cancel": p.Cancel("7f3a.1"),
    "drain": p.Drain(20000.0),
}


def goldens() -> Iterator[Golden]:
    """Return every golden message, valid ones first."""
    for name, message in (GOOD_TO_GATEWAY | GOOD_TO_WORKER).items():
        yield _good(name, message)
    yield _with_unknown_field()
    yield _with_integral_float()
    yield from _bad_envelopes("to-gateway", HEARTBEAT.kind, header_of(HEARTBEAT))
    yield from _bad_envelopes("to-worker", GENERATE.kind, GENERATE_HEADER)
    yield from _bad_headers()
    yield from _bad_binaries()


def text_of(golden: Golden) -> str:
    """Return the content of a golden message's file."""
    return json.dumps(golden, indent=2) + "\n"


def _good(name: str, message: p.Message) -> Golden:
    direction = "to-gateway" if message.kind in p.FROM_WORKER else "to-worker"
    prefix, _, *binary = _frames(message)
    header = WRITTEN[name][1] if name in WRITTEN else header_of(message)
    return {
        "name": name,
        "direction": direction,
        "frames": _base64([prefix, _json(header), *binary]),
        "valid": True,
        "kind": type(message).__name__.upper(),
        "message": header,
    }


def _bad(name: str, direction: str, error: str, frames: Frames) -> Golden:
    return {
        "name": f"bad-{name}",
        "direction": direction,
        "frames": _base64(frames),
        "valid": False,
        "error": error,
    }


def _with_unknown_field() -> Golden:
    prefix, _ = _frames(HEARTBEAT)
    header = header_of(HEARTBEAT) | {"a_field_of_the_future": {"x": [1, None]}}
    return _good("heartbeat-unknown-field", HEARTBEAT) | {
        "frames": _base64([prefix, _json(header)])
    }


def _with_integral_float() -> Golden:
    """JSON has one kind of number: 2.0 is an integer."""
    prefix, header = _frames(GOOD_TO_GATEWAY["progress"])
    frames = [prefix, header.replace(b'"step":12', b'"step":12.0')]
    return _good("progress-integral-float", GOOD_TO_GATEWAY["progress"]) | {
        "frames": _base64(frames)
    }


def _bad_envelopes(direction: str, kind: int, good: Header) -> Iterator[Golden]:
    prefix, header = bytes((kind, p.VERSION)), _json(good)
    wrong_way = p.Ping("s").kind if direction == "to-gateway" else HELLO.kind
    cases: dict[str, tuple[str, Frames]] = {
        "no-frames": ("prefix", []),
        "short-prefix": ("prefix", [prefix[:1], header]),
        "long-prefix": ("prefix", [prefix + b"\0", header]),
        "version": ("version", [bytes((prefix[0], 4)), header]),
        "kind": ("kind", [b"\x7f\x01", header]),
        "wrong-way": ("kind", [bytes((wrong_way, 1)), header]),
        "no-header": ("header_size", [prefix]),
        "truncated-header": ("header_json", [prefix, header[: len(header) // 2]]),
        "not-json": ("header_json", [prefix, b"hello?"]),
        "not-utf8": ("header_json", [prefix, b'{"session":"\xff"}']),
        "not-an-object": ("header_json", [prefix, b"[" + header + b"]"]),
        "nan": ("header_json", [prefix, b'{"session":NaN}']),
        "too-many-binaries": ("binary_count", [prefix, header, PIXELS]),
    }
    for name, (error, frames) in cases.items():
        yield _bad(f"{direction}-{name}", direction, error, frames)


def _bad_headers() -> Iterator[Golden]:
    heartbeat, failed = (header_of(GOOD_TO_GATEWAY[name]) for name in ("heartbeat", "failed"))
    cases: dict[str, tuple[type[p.Message], Header, Header]] = {
        "hello-no-tokenizers": (p.Hello, HELLO_HEADER, {"tokenizers": []}),
        "hello-preset-without-steps": (
            p.Hello,
            HELLO_HEADER,
            {"presets": [{"name": "few", "guidance_scale": 0, "scheduler": "euler"}]},
        ),
        "hello-size-of-three": (p.Hello, HELLO_HEADER, {"sizes": [[1024, 1024, 3]]}),
        "heartbeat-no-sizes": (p.Heartbeat, heartbeat, {"sizes": []}),
        "heartbeat-not-finite-without-decode": (
            p.Heartbeat,
            heartbeat,
            {"not_finite": {"text_encoder": 1, "denoise": 0}},
        ),
        "heartbeat-lora-sets-negative": (
            p.Heartbeat,
            heartbeat,
            {
                "lora_sets": {
                    "held": 1,
                    "merges_total": 1,
                    "merge_seconds_total": -1,
                    "preparing": 0,
                }
            },
        ),
        "heartbeat-missing-session": (p.Heartbeat, heartbeat, {"session": ...}),
        "heartbeat-negative": (p.Heartbeat, heartbeat, {"queued": -1}),
        "heartbeat-boolean-for-integer": (p.Heartbeat, heartbeat, {"rows_in_use": True}),
        "heartbeat-65-steps": (p.Heartbeat, heartbeat, {"step_ms": [1.0] * 65}),
        "heartbeat-busy-before-zero": (
            p.Heartbeat,
            heartbeat,
            {"used": {"busy_ms": -1, "padding_ms": 0}},
        ),
        "failed-unknown-code": (p.Failed, failed, {"code": "bored"}),
        "generate-missing-negative": (p.Generate, GENERATE_HEADER, {"negative": ...}),
        "generate-string-for-integer": (p.Generate, GENERATE_HEADER, {"steps": "40"}),
        "generate-fraction-for-integer": (p.Generate, GENERATE_HEADER, {"steps": 40.5}),
        "generate-seed-of-33-bits": (p.Generate, GENERATE_HEADER, {"seeds": [4294967296]}),
        "generate-no-seeds": (p.Generate, GENERATE_HEADER, {"seeds": []}),
        "generate-null-for-optional": (p.Generate, GENERATE_HEADER, {"timeout_ms": None}),
        "generate-flat-prompt": (p.Generate, GENERATE_HEADER, {"prompt": [49406, 49407]}),
        "generate-half-prompt": (p.Generate, GENERATE_HEADER, {"prompt": {"ids": [1]}}),
        "generate-guidance-past-the-end": (p.Generate, GENERATE_HEADER, {"guidance_end": 1.01}),
        "generate-cache-interval-of-none": (p.Generate, GENERATE_HEADER, {"cache_interval": 0}),
        "generate-rescale-of-2": (p.Generate, GENERATE_HEADER, {"guidance_rescale": 2}),
        "generate-tenant-without-weight": (p.Generate, GENERATE_HEADER, {"tenant": {"id": 3}}),
        "generate-tenant-of-weight-0": (
            p.Generate,
            GENERATE_HEADER,
            {"tenant": {"id": 3, "weight": 0}},
        ),
        "generate-score-of-11": (p.Generate, GENERATE_HEADER, {"aesthetic_score": 11}),
        "generate-refined-from-the-end": (p.Generate, GENERATE_HEADER, {"denoising_end": 1}),
        "generate-refined-from-the-start": (p.Generate, GENERATE_HEADER, {"denoising_end": 0}),
        "generate-size-of-three": (p.Generate, GENERATE_HEADER, {"target_size": [1, 2, 3]}),
        "generate-size-of-zero": (p.Generate, GENERATE_HEADER, {"original_size": [0, 512]}),
        "generate-negative-crop": (
            p.Generate,
            GENERATE_HEADER,
            {"crops_coords_top_left": [0, -1]},
        ),
        "generate-no-states": (p.Generate, GENERATE_HEADER, {"states": []}),
        "generate-101-states": (p.Generate, GENERATE_HEADER, {"states": [STATE] * 101}),
        "generate-state-of-no-bytes": (
            p.Generate,
            GENERATE_HEADER,
            {"states": [STATE | {"bytes": 0}]},
        ),
        "failed-state-without-digest": (
            p.Failed,
            failed,
            {"states": [{"image": 0, "step": 1, "evaluation": 1, "bytes": 1}]},
        ),
        "hello-state-kind-short": (p.Hello, HELLO_HEADER, {"state_kind": "ab"}),
        "generate-no-pictures": (p.Generate, GENERATE_HEADER, {"pictures": []}),
        "generate-7-pictures": (p.Generate, GENERATE_HEADER, {"pictures": [IMAGE] * 7}),
        "hello-101-controls": (p.Hello, HELLO_HEADER, {"controls": [CONTROL] * 101}),
        "hello-ip-adapter-of-no-tokens": (
            p.Hello,
            HELLO_HEADER,
            {"ip_adapters": [IP_ADAPTER | {"tokens": 0}]},
        ),
        "generate-no-controls": (p.Generate, GENERATE_HEADER, {"controls": []}),
        "generate-control-scale-of-11": (
            p.Generate,
            GENERATE_HEADER,
            {"controls": [CONTROL_USE | {"scale": 11}]},
        ),
        "generate-control-past-the-end": (
            p.Generate,
            GENERATE_HEADER,
            {"controls": [CONTROL_USE | {"end": 1.01}]},
        ),
        "generate-ip-adapter-without-scale": (
            p.Generate,
            GENERATE_HEADER,
            {"ip_adapters": [{"name": "plus", "digest": DIGEST}]},
        ),
        "generate-picture-without-channels": (
            p.Generate,
            GENERATE_HEADER,
            {"pictures": [{"role": "image", "width": 3, "height": 2}]},
        ),
        "generate-no-schedule-steps": (p.Generate, GENERATE_HEADER, {"schedule_steps": 0}),
        "generate-no-loras": (p.Generate, GENERATE_HEADER, {"loras": []}),
        "generate-lora-of-weight-11": (
            p.Generate,
            GENERATE_HEADER,
            {"loras": [LORA_USE | {"unet_weight": 11}]},
        ),
        "generate-lora-without-digest": (
            p.Generate,
            GENERATE_HEADER,
            {"loras": [{"name": "ink", "unet_weight": 1, "text_weight": 1}]},
        ),
        "generate-lora-named-as-a-tag": (
            p.Generate,
            GENERATE_HEADER,
            {"loras": [LORA_USE | {"name": "a:b"}]},
        ),
        "generate-no-embeddings": (p.Generate, GENERATE_HEADER, {"embeddings": []}),
        "generate-embedding-without-first-id": (
            p.Generate,
            GENERATE_HEADER,
            {"embeddings": [{"name": "ink", "digest": DIGEST}]},
        ),
        "generate-pooled-at-1": (p.Generate, GENERATE_HEADER, {"pooled_at_end": 1}),
        "hello-embedding-of-no-vectors": (
            p.Hello,
            HELLO_HEADER,
            {"embeddings": [EMBEDDING | {"vectors": 0}]},
        ),
        "generate-unknown-upscaler": (
            p.Generate,
            GENERATE_HEADER,
            {"latents_upscaler": "bicubic"},
        ),
        "generate-unknown-output-type": (p.Generate, GENERATE_HEADER, {"output_type": "pil"}),
        "generate-unknown-weighting": (p.Generate, GENERATE_HEADER, {"weighting": "sd"}),
        "generate-weight-of-1001": (
            p.Generate,
            GENERATE_HEADER,
            {"prompt": TOKENS | {"weights": [1, 1, 1, 1001]}},
        ),
        "generate-weight-of-null": (
            p.Generate,
            GENERATE_HEADER,
            {"prompt": TOKENS | {"weights": [1, None, 1, 1]}},
        ),
        "generate-33-masked": (
            p.Generate,
            GENERATE_HEADER,
            {"prompt": TOKENS | {"masked": [[i, i + 1] for i in range(33)]}},
        ),
        "generate-span-of-three": (
            p.Generate,
            GENERATE_HEADER,
            {"prompt": TOKENS | {"masked": [[1, 2, 3]]}},
        ),
        "heartbeat-no-chunks": (p.Heartbeat, heartbeat, {"max_chunks": 0}),
        "cancel-empty-id": (p.Cancel, {"id": "x"}, {"id": ""}),
        "welcome-no-interval": (p.Welcome, {"session": "s"}, {"heartbeat_ms": 0}),
        "refused-without-a-code": (p.Refused, {"message": "no"}, {}),
    }
    for name, (kind, good, changes) in cases.items():
        header = {key: value for key, value in (good | changes).items() if value is not ...}
        direction = "to-gateway" if kind.kind in p.FROM_WORKER else "to-worker"
        frames = [bytes((kind.kind, p.VERSION)), _json(header)]
        yield _bad(name, direction, "header_field", frames)


def _bad_binaries() -> Iterator[Golden]:
    result = _frames(GOOD_TO_GATEWAY["result"])
    preview = _frames(GOOD_TO_GATEWAY["progress-preview"])
    latents = _frames(GOOD_TO_GATEWAY["result-latents"])
    states = _frames(GOOD_TO_GATEWAY["failed-states"])
    stateless = _frames(GOOD_TO_GATEWAY["failed"])
    cases = {
        "failed-without-a-state": ("binary_count", states[:3]),
        "failed-with-another-state": ("binary_count", [*states, b"gh"]),
        "failed-state-short": ("binary_size", [*states[:3], b"e"]),
        "failed-version-1-with-states": (
            "binary_count",
            [bytes((states[0][0], p.VERSION)), *states[1:]],
        ),
        "failed-version-3-without-states": (
            "binary_count",
            [bytes((states[0][0], p.VERSION_WITH_STATES)), stateless[1]],
        ),
        "result-without-pixels": ("binary_count", result[:2]),
        "result-with-two-pictures": ("binary_count", [*result, PIXELS]),
        "result-pixels-short": ("binary_size", [*result[:2], PIXELS[:-1]]),
        "result-latents-short": ("binary_size", [*latents[:2], latents[2][:-1]]),
        "result-latents-as-pixels": ("binary_size", [*latents[:2], PIXELS]),
        "preview-without-pixels": ("binary_count", preview[:2]),
        "preview-pixels-long": ("binary_size", [*preview[:2], PIXELS + b"\0"]),
    }
    for name, (error, frames) in cases.items():
        yield _bad(name, "to-gateway", error, frames)
    prefix, header, image, mask = _frames(GOOD_TO_WORKER["generate-mask"])
    plain = _frames(GENERATE)[1]
    moved = _frames(GOOD_TO_WORKER["generate-states-and-pictures"])
    cases = {
        "generate-without-its-state": ("binary_count", moved[:-1]),
        "generate-state-long": ("binary_size", [*moved[:-1], moved[-1] + b"\0"]),
        "generate-version-2-with-states": (
            "binary_count",
            [bytes((prefix[0], p.VERSION_WITH_PICTURES)), *moved[1:]],
        ),
        "generate-version-1-with-pictures": (
            "binary_count",
            [bytes((prefix[0], p.VERSION)), header, image, mask],
        ),
        "generate-version-2-without-pictures": ("binary_count", [prefix, plain]),
        "generate-without-mask": ("binary_count", [prefix, header, image]),
        "generate-with-three-pictures": ("binary_count", [prefix, header, image, mask, mask]),
        "generate-image-short": ("binary_size", [prefix, header, image[:-1], mask]),
        "generate-mask-long": ("binary_size", [prefix, header, image, mask + b"\0"]),
    }
    for name, (error, frames) in cases.items():
        yield _bad(name, "to-worker", error, frames)


def _frames(message: p.Message) -> Frames:
    return [bytes(frame) for frame in pack(message)]


def _base64(frames: Frames) -> list[str]:
    return [base64.b64encode(frame).decode() for frame in frames]


def main() -> None:
    """Write the files and remove obsolete ones."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for golden in goldens():
        (FOLDER / f"{golden['name']}.json").write_text(text_of(golden), encoding="utf-8")


if __name__ == "__main__":
    main()
