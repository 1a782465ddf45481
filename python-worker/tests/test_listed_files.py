"""The folders of files that requests name, and what a worker tells of them."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from msgspec import UNSET

from easel_worker.codec import pack
from easel_worker.engine import Control, Embedding, IpAdapter, Lora
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Options
from easel_worker.listed_files import (
    MAX_LISTED,
    MAX_LISTED_BYTES,
    MAX_LISTED_CONTROL_BYTES,
    MAX_LISTED_CONTROLS,
    MAX_LISTED_EMBEDDING_BYTES,
    fitting,
    named_files,
)
from easel_worker.news import News
from easel_worker.protocol import MAX_HEADER_BYTES
from easel_worker.vitals import Vitals

DIGEST = "0" * 64


def write(folder: Path, name: str, content: bytes = b"x") -> None:
    path = folder / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    for name in ("b", "a", "styles/ink.v2", "a:b", "<a>", "a" * 201):
        write(tmp_path, name)
    (tmp_path / "notes.txt").write_text("no LoRA")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nothing")
    (tmp_path / "linked.safetensors").symlink_to(tmp_path / "a.safetensors")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(named_files(tmp_path)) == ["a", "b", "linked", "styles/ink.v2"]


def test_hello_has_room_for_what_is_listed(tmp_path: Path) -> None:
    large = Lora(
        "😀" * 200, DIGEST, "lora", 1, ("unet",) * 8, ("名" * 100,) * 8, base_model="名" * 200
    )
    listed = fitting([large] * 5000, MAX_LISTED_BYTES)
    more = fitting([Embedding("😀" * 200, DIGEST, 75)] * 5000, MAX_LISTED_EMBEDDING_BYTES)
    assert 0 < len(more) < MAX_LISTED
    assert 0 < len(listed) < MAX_LISTED
    hello = News(FakeEngine(Options()), Vitals(), "w").hello()
    nets = fitting([Control("😀" * 200, DIGEST, "t2i-adapter")] * 100, MAX_LISTED_CONTROL_BYTES)
    styles = fitting([IpAdapter("😀" * 200, DIGEST, 16)] * 100, MAX_LISTED_CONTROL_BYTES)
    lists = {"loras": listed, "embeddings": more, "controls": nets, "ip_adapters": styles}
    header = pack(replace(hello, **lists))[1]
    most = MAX_LISTED_BYTES + MAX_LISTED_EMBEDDING_BYTES + 2 * MAX_LISTED_CONTROL_BYTES
    assert most < len(header) + 20_000 < MAX_HEADER_BYTES
    assert len(fitting([Lora("a", DIGEST, "lora")] * 5000, MAX_LISTED_BYTES)) == MAX_LISTED
    small = [Control("a", DIGEST, "controlnet")] * 200
    few = fitting(small, MAX_LISTED_CONTROL_BYTES, MAX_LISTED_CONTROLS)
    assert len(few) == MAX_LISTED_CONTROLS


def test_heartbeats_tell_the_loras_once_they_differ_from_those_of_hello(tmp_path: Path) -> None:
    write(tmp_path, "ink")
    news = News(FakeEngine(Options(loras=tmp_path)), Vitals(), "w")
    (ink,) = news.hello().loras
    assert (ink.name, ink.digest) == ("ink", sha256(b"x").hexdigest())
    assert news.heartbeat("s").loras is UNSET
    write(tmp_path, "oil")
    for _ in range(2):  # the first one may never be sent
        assert [lora.name for lora in news.heartbeat("s").loras] == ["ink", "oil"]
    write(tmp_path, "ink", b"another")
    told = news.heartbeat("s").loras
    assert told[0].digest == sha256(b"another").hexdigest()
    write(tmp_path, "ink")
    (tmp_path / "oil.safetensors").unlink()
    assert news.heartbeat("s").loras == (ink,)  # as in HELLO, but no longer as it was told
    assert news.hello().loras == (ink,)
    assert news.heartbeat("s").loras is UNSET


def test_heartbeats_tell_the_embeddings_too(tmp_path: Path) -> None:
    write(tmp_path, "ink", b"12")
    news = News(FakeEngine(Options(embeddings=tmp_path)), Vitals(), "w")
    hello = news.hello()
    assert hello.embeddings == (Embedding("ink", sha256(b"12").hexdigest(), 12),)
    assert "embeddings" in hello.features
    assert news.heartbeat("s").embeddings is UNSET
    write(tmp_path, "oil", b"no number")
    told = news.heartbeat("s")
    assert [(each.name, each.vectors) for each in told.embeddings] == [("ink", 12), ("oil", 1)]
    assert told.loras == ()


def test_hello_tells_the_controls_and_ip_adapters(tmp_path: Path) -> None:
    write(tmp_path / "nets", "canny", b"a net")
    write(tmp_path / "nets", "sketch", b"t2i-adapter")
    write(tmp_path / "styles", "plus", b"16")
    options = Options(controlnets=tmp_path / "nets", ip_adapters=tmp_path / "styles")
    news = News(FakeEngine(options), Vitals(), "w")
    hello = news.hello()
    assert [(each.name, each.kind) for each in hello.controls] == [
        ("canny", "controlnet"),
        ("sketch", "t2i-adapter"),
    ]
    assert hello.ip_adapters == (IpAdapter("plus", sha256(b"16").hexdigest(), 16),)
    assert {"controls", "ip_adapters"} <= {*hello.features}
    assert hello.limits.max_controls == 2
    told = news.heartbeat("s")
    assert (told.controls, told.ip_adapters) == (UNSET, UNSET)


def test_files_that_can_run_code_are_left_out_with_a_reason(tmp_path: Path) -> None:
    lines: list[str] = []
    write(tmp_path, "ink")
    for name in ("old.pt", "older.bin", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert list(named_files(tmp_path, lines.append)) == ["ink"]
    assert [line.split("/")[-1] for line in lines] == [
        f"{name} is left out: loading it can run code; convert it to .safetensors"
        for name in ("old.pt", "older.bin")
    ]


def test_a_worker_without_folders_has_neither() -> None:
    capabilities = FakeEngine(Options()).capabilities
    folders = {"loras", "embeddings", "controls", "ip_adapters"}
    assert not folders & {*capabilities.features}
    assert (capabilities.limits.max_loras, capabilities.limits.max_controls) == (0, 0)
