"""Compares whole images of single files with diffusers' `from_single_file` on the same file."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

from easel_worker.sdxl.folder.layout import COMPONENTS
from parity import original_layout, reference
from parity.components.live import randomise
from parity.pipeline import ours as our_pipeline
from parity.pipeline import reference as reference_pipeline
from parity.pipeline.cases import PIPELINE_CASES, PipelineCase
from parity.report import Comparison
from parity.single_file.cases import FILES, MIXED, File

SUBJECT = "single file, of 255"

_CASES = {case.name: case for case in PIPELINE_CASES}


_MIXTURE = (torch.float32, torch.float16, torch.bfloat16)


def compare(seed: int) -> Iterator[Comparison]:
    """Compare images of random models; the seed determines weights, noise and prompts."""
    for number, file in enumerate(FILES):
        case = replace(_CASES[file.case], seed=seed, prompt=f"{_CASES[file.case].prompt} {seed}")
        measured = _difference(case, file, seed + number)
        yield Comparison(SUBJECT, file.name, measured, our_pipeline.LIMIT)


def _difference(case: PipelineCase, file: File, seed: int) -> float:
    torch.manual_seed(seed)
    models = reference.build(case.model)
    randomise(models)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference.pipeline(models).save_pretrained(folder)
        for weights in folder.glob("*/*.safetensors"):
            weights.unlink()
        path = folder / "model.safetensors"
        save_file(_tensors(models, file), path)
        theirs = reference_pipeline.run(case, _read(path, folder))
        ours = our_pipeline.run(case, our_pipeline.engine_for(case, folder))
    return our_pipeline.difference(ours, theirs)


def _tensors(models: Mapping[str, Any], file: File) -> dict[str, torch.Tensor]:
    parts = {
        part: {name: tensor.numpy() for name, tensor in models[part].state_dict().items()}
        for part in COMPONENTS
    }
    tensors = original_layout.single_file(parts, attention_as_conv=file.attention_as_conv)
    dtypes = _MIXTURE if file.dtype == MIXED else (getattr(torch, file.dtype),)
    return {
        name: torch.from_numpy(array).to(dtypes[i % len(dtypes)])
        for i, (name, array) in enumerate(tensors.items())
    }


def _read(path: Path, configs: Path) -> dict[str, reference.Model]:
    """The models that diffusers reads from a single file, for the configs in a folder."""
    pipeline = StableDiffusionXLPipeline.from_single_file(
        str(path),
        config=str(configs),
        torch_dtype=torch.float32,
        local_files_only=True,
        tokenizer=None,
        tokenizer_2=None,
    )
    return {part: getattr(pipeline, part).eval() for part in COMPONENTS}
