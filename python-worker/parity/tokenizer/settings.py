"""Settings of special tokens in tokenizer folders: SDXL's own and others."""

import random
from collections.abc import Iterator

START, END = "<|startoftext|>", "<|endoftext|>"
EXTRA = ["!", "hello</w>", "cat</w>"]
NAMES = ["bos_token", "eos_token", "unk_token", "pad_token"]
SETTINGS_PROBE = (
    f"{START} {END} <|StartOfText|> <|ENDOFTEXT|> wow!!! a!b é!\u0301 <|ENDOFTEXT|>!! {START}{END} "
    "cat</w> hello world \u00d0\u00f0"
)

Settings = dict[str, object]


def token(content: str, normalized: bool) -> Settings:
    """Return an added token's fields."""
    flags = {"lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}
    return {"content": content} | flags


def typed(content: str, normalized: bool) -> Settings:
    """Return an added token as `tokenizer_config.json` writes it."""
    return {"__type": "AddedToken"} | token(content, normalized)


def folder_settings() -> Iterator[tuple[Settings, Settings]]:
    """Yield pairs of `tokenizer_config.json` and `special_tokens_map.json`."""
    named = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": "!"}
    listed = {
        "0": token("!", False) | {"special": True},
        "49406": token(START, True) | {"special": True},
        "49407": token(END, False) | {"special": False},
    }
    yield {}, {}
    yield named, {}
    yield {}, named
    yield {"pad_token": "!"}, {"pad_token": END}
    yield {"added_tokens_decoder": listed, **named, "additional_special_tokens": []}, {}
    yield {"added_tokens_decoder": listed, **named}, {"pad_token": END}
    yield {"added_tokens_decoder": {"49406": listed["49406"]}, **named}, {}
    yield {"eos_token": typed(END, True), "unk_token": END}, {"pad_token": token(END, True)}
    yield {"eos_token": typed(END, True), "unk_token": END, "pad_token": typed(END, True)}, {}
    yield {"added_tokens_decoder": {"140": token("\u00d0", True)}}, {}
    yield {"added_tokens_decoder": {"140": token("\u00d0", False)}}, {}
    bare = {"content": END}
    yield {"eos_token": {"__type": "AddedToken"} | bare, "pad_token": "!"}, {}
    yield {"pad_token": "!"}, {"eos_token": bare, "unk_token": bare}
    rng = random.Random(5)
    for _ in range(35):
        names = rng.sample(NAMES, rng.randint(0, 4))
        yield random_config(rng, listed), random_names(rng, names, False)


def added_tokens() -> Iterator[tuple[Settings, Settings, list[Settings]]]:
    """Yields `tokenizer_config.json`, the map and `added_tokens` of `tokenizer.json`."""
    named = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": "!"}
    listed = [
        {"id": 49407} | token(END, False) | {"special": True},
        {"id": 0} | token("!", True) | {"special": True},
        {"id": 49406} | token(START, True) | {"special": True},
        {"id": 2368} | token("cat</w>", False) | {"special": False},
    ]
    yield {}, {}, []
    yield {}, {}, listed
    yield named, {}, []
    yield named, {}, listed
    yield named, {}, listed[:1]
    yield {}, named, listed[1:3]
    yield named, {"pad_token": token(END, True)}, listed
    yield (
        {"added_tokens_decoder": {"0": token("!", False) | {"special": True}}, **named},
        {},
        listed,
    )
    yield {"extra_special_tokens": ["hello</w>"], **named}, {}, listed
    rng = random.Random(7)
    for _ in range(12):
        config = random_names(rng, rng.sample(NAMES, rng.randint(0, 4)), True)
        flags = {"normalized": rng.random() < 0.5}
        chosen = rng.sample(listed, rng.randint(1, 4))
        yield config, random_names(rng, rng.sample(NAMES, 1), False), [t | flags for t in chosen]


def random_config(rng: random.Random, listed: dict[str, Settings]) -> Settings:
    """Return a config with random names, listed tokens and extra tokens."""
    config = random_names(rng, rng.sample(NAMES, rng.randint(0, 4)), True)
    if rng.random() < 0.4:
        ids = rng.sample(sorted(listed), rng.randint(1, 3))
        normalized = {"normalized": rng.random() < 0.5}
        config["added_tokens_decoder"] = {number: listed[number] | normalized for number in ids}
    if rng.random() < 0.3:
        config["additional_special_tokens"] = rng.sample(EXTRA, rng.randint(0, 2))
    return config


def random_names(rng: random.Random, names: list[str], in_config: bool) -> Settings:
    """Return names, each a string or an added token, as either file writes them."""
    settings: Settings = {}
    for name in names:
        content = START if name == "bos_token" else END
        if name == "pad_token":
            content = rng.choice([END, "!", "a"])
        make = typed if in_config else token
        settings[name] = rng.choice([content, make(content, rng.random() < 0.5)])
    return settings
