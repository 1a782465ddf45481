"""Compares images that follow pictures with diffusers, on random nets and a random model."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel
from safetensors.numpy import save_file

from parity import original_layout, reference
from parity.components.live import randomise
from parity.controls import ours
from parity.controls import reference as libraries
from parity.controls.cases import CONTROL_CASES, MODEL, NETS, NO_CONDITIONS, ControlCase
from parity.pipeline import ours as pipeline
from parity.report import Comparison

IMAGES = "image with controls, of 255"
FILES = "a ControlNet in the original layout, 0 if all tensors are equal"


def compare(seed: int) -> Iterator[Comparison]:
    """Compare all cases; the seed determines weights, noise and pictures."""
    torch.manual_seed(seed)
    models, nets = reference.build(MODEL), libraries.build()
    randomise(models)
    randomise(nets)
    seeded = sorted(
        (replace(case, image=replace(case.image, seed=seed % 2**31)) for case in CONTROL_CASES),
        key=lambda case: case.image.engine,
    )
    with tempfile.TemporaryDirectory() as name:
        libraries.save(nets, Path(name) / "nets")
        for engine_key, cases in groupby(seeded, lambda case: case.image.engine):
            folder = Path(name) / engine_key.replace("/", " ")
            reference.pipeline(models).save_pretrained(folder)
            group: list[ControlCase] = list(cases)
            engine = ours.engine_for(group[0], folder, Path(name) / "nets")
            for case in group:
                theirs = libraries.run(case, models, nets)
                measured = pipeline.difference(ours.run(case, engine), theirs)
                yield Comparison(IMAGES, case.name, measured, pipeline.LIMIT)
        yield from _original_layout(nets, Path(name))


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
