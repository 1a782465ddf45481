"""The recorder does not change the engine's results, and records the right times."""

import io
import json
from itertools import count

from bench.recorder import Recorder
from easel_worker.fake.engine import FakeEngine
from easel_worker.fake.options import Options
from tests.support.samples import SMALL, generate, spec_of


def test_the_recorder_writes_when_an_image_began_and_had_its_first_step() -> None:
    lines = io.StringIO()
    fake = FakeEngine(Options(sizes=(SMALL,)), sleep=lambda _: None)
    recorder = Recorder(fake, lines, clock=map(float, count()).__next__)
    early, late = (spec_of(generate("r", steps=steps), seed) for seed, steps in ((1, 3), (2, 1)))
    first = recorder.start(early)  # 0 s
    recorder.step([first])  # 1 s
    second = recorder.start(late)  # 2 s
    recorder.step([first, second])  # 3 s
    recorder.step([first])
    pixels = recorder.finish(first)  # 4 s
    assert json.loads(lines.getvalue()) == {"seed": 1, "begun": 0, "stepped": 1000, "made": 4000}
    assert (pixels == fake.finish(first)).all()
