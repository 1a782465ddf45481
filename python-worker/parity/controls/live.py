"""Compares images that follow pictures with diffusers, on random nets and a random model."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from diffusers import ControlNetModel
from safetensors.numpy import save_file

from parity import original_layout
from parity.components.live import randomise
from parity.controls import ours
from parity.controls import reference as libraries
from parity.controls.cases import CONTROL_CASES, MODEL, NETS, NO_CONDITIONS, ControlCase
from parity.pipeline.live import compare_group, random_models, seeded
from parity.report import Comparison

IMAGES = "image with controls, of 255"
FILES = "a ControlNet in the original layout, 0 if all tensors are equal"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines weights, noise, prompts and pictures."""
    models, nets = random_models(MODEL, seed), libraries.build()
    randomise(nets)
    cases = (replace(case, image=seeded(case.image, seed)) for case in CONTROL_CASES)
    with tempfile.TemporaryDirectory() as name:
        libraries.save(nets, Path(name) / "nets")
        for _, group in groupby(sorted(cases, key=_engine), _engine):
            yield from compare_group(
                IMAGES,
                list(group),
                models,
                engine_for=partial(ours.engine_for, nets=Path(name) / "nets"),
                ours=ours.run,
                theirs=partial(libraries.run, models=models, nets=nets),
            )
        yield from _original_layout(nets, Path(name))


def _engine(case: ControlCase) -> str:
    return case.image.engine


def _original_layout(nets: libraries.Nets, folder: Path) -> Iterator[Comparison]:
    """Read files in the original layout, of nets with the blocks that diffusers converts.

    diffusers leaves out label_emb, so its nets have no added conditions here. Ours get them by the
    rule of the UNet, which `parity.single_file` compares.
    """
    canny = nets["canny"]
    plain = libraries.build_net(NETS["canny"] | NO_CONDITIONS)
    plain.load_state_dict(canny.state_dict(), strict=False)
    plain.save_pretrained(folder / "diffusers")
    (folder / "original").mkdir()
    tensors = {name: tensor.numpy() for name, tensor in plain.state_dict().items()}
    for prefix in ("control_model.", ""):
        file = folder / "original" / f"net{len(prefix)}.safetensors"
        save_file(original_layout.controlnet(tensors, prefix=prefix), file)
        read = ControlNetModel.from_single_file(
            str(file), config=str(folder / "diffusers"), local_files_only=True
        )
        theirs = {name: tensor.numpy() for name, tensor in read.state_dict().items()}
        same = all(np.array_equal(theirs[name], tensors[name]) for name in tensors)
        yield Comparison(FILES, f"diffusers, {prefix or 'no prefix'}", float(not same), 0.0)
        ours_read = ours.read_file(file, MODEL)
        same = ours_read.keys() == theirs.keys() and all(
            np.array_equal(ours_read[name], theirs[name]) for name in theirs
        )
        yield Comparison(FILES, f"ours, {prefix or 'no prefix'}", float(not same), 0.0)
