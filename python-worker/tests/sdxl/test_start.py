"""Starting: weights are read during compilation, and further programs are compiled behind."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from easel_worker.engine import (
    COMPILING,
    IMAGE_TO_IMAGE,
    INPAINTING,
    LATENTS,
    PROMPT_WEIGHTS,
    InvalidRequest,
)
from easel_worker.news import News
from easel_worker.protocol import Generate
from easel_worker.sdxl.folder.checkpoint import WeightsError
from easel_worker.sdxl.serving import assembly
from easel_worker.sdxl.serving.compilation import CompileHere
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from easel_worker.specs import hello, specs
from easel_worker.timeline import Timeline
from easel_worker.values import Size
from easel_worker.vitals import Vitals
from tests.sdxl.tiny_model import SIZES, spec, tokens, write
from tests.support.samples import generate, with_pictures

PATIENCE_S = 240.0
FIRST, SECOND = SIZES

Compile = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny"))


def cold(
    folder: Path, timeline: Timeline | None = None, *, chunks: int = 1, pictures: bool = False
) -> SdxlEngine:
    options = Options(
        devices=jax.devices()[:1],
        compile_behind=True,
        max_prompt_chunks=chunks,
        image_inputs=pictures,
    )
    return SdxlEngine(folder, options, timeline)


@pytest.fixture
def hold_second(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The second size is compiled only after this event is set."""
    return held(f"begin {SECOND[0]}x{SECOND[1]}", monkeypatch)


def held(held_back: str, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event after which the program of a name is compiled."""
    go_on, compile_it = threading.Event(), CompileHere.compile

    def wait(self: CompileHere, name: str, *rest: Any) -> Any:
        if name == held_back:
            assert go_on.wait(PATIENCE_S)
        return compile_it(self, name, *rest)

    monkeypatch.setattr(CompileHere, "compile", wait)
    return go_on


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Wait until no thread of a test compiles."""
    yield
    until(lambda: not any(thread.name == COMPILING for thread in threading.enumerate()))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def image(engine: SdxlEngine, size: Size) -> Any:
    lane = engine.start(spec(steps=1, width=size.width, height=size.height))
    engine.step([lane])
    return engine.finish(lane)


def test_images_of_the_first_size_are_made_while_the_second_is_compiled(
    folder: Path, hold_second: threading.Event
) -> None:
    engine = cold(folder)
    engine.warm(lambda _: None)
    assert (engine.capabilities.sizes, engine.capabilities.coming) == ((FIRST,), (SECOND,))
    before = image(engine, FIRST)
    hold_second.set()
    until(lambda: engine.capabilities.sizes == (FIRST, SECOND))
    assert engine.capabilities.coming == ()
    assert "decode 8x8" in [program.name for program in engine.capabilities.programs]
    np.testing.assert_array_equal(image(engine, FIRST), before)
    assert image(engine, SECOND).shape == (8, 8, 3)


def test_hello_lists_coming_sizes_and_requests_for_them_are_refused(
    folder: Path, hold_second: threading.Event
) -> None:
    engine = cold(folder)
    engine.warm(lambda _: None)
    told = hello(engine.capabilities, "w")
    assert (told.sizes, told.coming) == ((FIRST,), (SECOND,))
    request = Generate(tokens("x"), None, 1, 1.0, "euler", *SECOND, id="r", seeds=(1,))
    with pytest.raises(InvalidRequest, match="8x8 is still being compiled"):
        specs(request, engine.capabilities)
    hold_second.set()
    until(lambda: not engine.capabilities.coming)
    assert hello(engine.capabilities, "w").coming == ()
    assert len(specs(request, engine.capabilities)) == 1


def test_a_size_that_cannot_be_compiled_is_not_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at("decode 8x8", monkeypatch)
    said: list[str] = []
    engine = cold(folder)
    engine.warm(said.append)
    until(lambda: not engine.capabilities.coming)
    assert engine.capabilities.sizes == (FIRST,)
    until(lambda: said[-1].startswith("8x8 is not offered: RESOURCE_EX"))


def failing_at(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the program of a name fail to compile."""
    compile_it = CompileHere.compile

    def fail(self: CompileHere, name: str, *rest: Any) -> Any:
        if name == wrong:
            raise RuntimeError("RESOURCE_EXHAUSTED: too large")
        return compile_it(self, name, *rest)

    monkeypatch.setattr(CompileHere, "compile", fail)


def test_weights_are_coming_until_their_program_is_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = held("encode masked", monkeypatch)
    engine = cold(folder)
    engine.warm(lambda _: None)
    told = hello(engine.capabilities, "w")
    assert (told.coming_features, told.coming_max_chunks) == ((PROMPT_WEIGHTS,), 1)
    news = News(engine, Vitals(), "w")
    assert news.heartbeat("s").coming_features == (PROMPT_WEIGHTS,)
    go_on.set()
    until(lambda: not news.heartbeat("s").coming_features)
    assert PROMPT_WEIGHTS in engine.capabilities.features
    until(lambda: not engine.capabilities.coming)


def test_weights_and_chunks_are_offered_as_they_are_compiled(
    folder: Path, hold_second: threading.Event
) -> None:
    engine = cold(folder, chunks=3)
    engine.warm(lambda _: None)
    assert engine.capabilities.limits.max_chunks == 1
    assert hello(engine.capabilities, "w").coming_max_chunks == 3
    until(lambda: PROMPT_WEIGHTS in engine.capabilities.features)
    assert engine.capabilities.coming_features == ()
    assert engine.capabilities.limits.max_chunks == 1
    hold_second.set()
    until(lambda: engine.capabilities.limits.max_chunks == 3)
    assert engine.capabilities.coming_max_chunks == 3
    names = [program.name for program in engine.capabilities.programs]
    assert [name for name in names if name.endswith("chunks")] == [
        f"{name} {chunks} chunks"
        for chunks in (2, 3)
        for name in (
            "project x2",
            "project x1",
            *(f"denoise {size} {guided} x1" for size in SIZES for guided in ("guided", "unguided")),
        )
    ]


def test_a_number_of_chunks_that_cannot_be_compiled_ends_what_is_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at("denoise 8x8 guided x1 2 chunks", monkeypatch)
    said: list[str] = []
    engine = cold(folder, chunks=3)
    engine.warm(said.append)
    until(lambda: any("2 chunks is not offered: RESOURCE_EXHAUSTED" in line for line in said))
    until(lambda: not any(thread.name == COMPILING for thread in threading.enumerate()))
    assert engine.capabilities.limits.max_chunks == 1
    assert engine.capabilities.coming_max_chunks == 1
    assert engine.capabilities.sizes == SIZES


def test_weights_whose_program_cannot_be_compiled_are_not_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at("encode masked", monkeypatch)
    engine = cold(folder, chunks=2)
    engine.warm(lambda _: None)
    until(lambda: engine.capabilities.limits.max_chunks == 2)
    assert PROMPT_WEIGHTS not in engine.capabilities.features
    assert engine.capabilities.coming_features == ()


def test_pictures_are_offered_last_and_for_all_sizes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = held("picture 8x8", monkeypatch)
    engine = cold(folder, chunks=2, pictures=True)
    engine.warm(lambda _: None)
    until(lambda: engine.capabilities.limits.max_chunks == 2)
    assert hello(engine.capabilities, "w").coming_features == (IMAGE_TO_IMAGE, INPAINTING, LATENTS)
    request = with_pictures(generate("r", width=16, height=8, prompt=tokens("x")), "image")
    with pytest.raises(InvalidRequest, match="does not support image_to_image"):
        specs(request, engine.capabilities)
    go_on.set()
    until(lambda: not engine.capabilities.coming_features)
    assert {IMAGE_TO_IMAGE, INPAINTING, LATENTS} < set(engine.capabilities.features)
    assert specs(request, engine.capabilities)[0].image is not None
    names = [program.name for program in engine.capabilities.programs]
    kinds = ("picture noise", "picture", "picture latents", "picture blend")
    assert names[-8:] == [f"{name} {size}" for size in SIZES for name in kinds]


def test_pictures_whose_programs_cannot_be_compiled_are_not_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at("picture 8x8", monkeypatch)
    said: list[str] = []
    engine = cold(folder, pictures=True)
    engine.warm(said.append)
    until(lambda: not engine.capabilities.coming_features)
    assert not {IMAGE_TO_IMAGE, INPAINTING, LATENTS} & set(engine.capabilities.features)
    assert engine.capabilities.sizes == SIZES
    wrong = "image_to_image and inpainting and latents is not offered: RESOURCE_EX"
    assert any(line.startswith(wrong) for line in said)


def test_weights_are_read_while_programs_are_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling, load, compile_it = threading.Event(), assembly.load_params, CompileHere.compile

    def late(*arguments: Any, **more: Any) -> Any:
        assert compiling.wait(PATIENCE_S)
        return load(*arguments, **more)

    def tell(self: CompileHere, *arguments: Any) -> Any:
        compiling.set()
        return compile_it(self, *arguments)

    monkeypatch.setattr(assembly, "load_params", late)
    monkeypatch.setattr(CompileHere, "compile", tell)
    timeline = Timeline()
    cold(folder, timeline).warm(lambda _: None)
    names = [span.name for span in timeline.spans]
    assert {"weights", "digest", "encode", "denoise 16x8 guided x1", "decode 16x8"} <= set(names)


def test_wrong_weights_end_the_start_before_all_is_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_it = CompileHere.compile
    compiled: list[str] = []

    def wrong(*_: Any, **__: Any) -> Any:
        raise WeightsError("unet: missing tensor x")

    def tell(self: CompileHere, name: str, *rest: Any) -> Any:
        compiled.append(name)
        until(lambda: not any(thread.name == "reading_0" for thread in threading.enumerate()))
        return compile_it(self, name, *rest)

    monkeypatch.setattr(assembly, "load_params", wrong)
    monkeypatch.setattr(CompileHere, "compile", tell)
    with pytest.raises(WeightsError, match="missing tensor x"):
        cold(folder).warm(lambda _: None)
    assert compiled in ([], ["encode"])


def test_the_time_line_has_the_first_image_once(folder: Path) -> None:
    said: list[str] = []
    timeline = Timeline()
    engine = cold(folder, timeline)
    engine.warm(said.append)
    image(engine, FIRST)
    image(engine, FIRST)
    assert [span.name for span in timeline.spans].count("first image") == 1
    assert len([line for line in said if line.startswith("the first image was done")]) == 1
