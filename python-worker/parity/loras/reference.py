"""Runs diffusers' pipeline with LoRAs loaded by diffusers with PEFT, or by LyCORIS. Needs torch."""

import copy
import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from numpy.typing import NDArray

from parity import reference
from parity.loras.cases import IMAGE, LoraCase, Use
from parity.loras.files import FACTOR, FACTOR_OF_BOTH, NAMINGS, layers_of
from parity.pipeline import reference as pipelines

Weights = dict[str, dict[str, NDArray[np.float32]]]
"""A model's parameters: by component, then by name."""

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")


def image(case: LoraCase, models: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return diffusers' image with a case's LoRAs, which stay apart from the weights."""
    with _with_loras(case, models) as own:
        return pipelines.run(IMAGE, own)


def merged(case: LoraCase, models: Mapping[str, Any]) -> Weights:
    """Return the weights that the libraries make by merging a case's LoRAs."""
    if case.reference == "lycoris":
        return _merged_by_lycoris(case, models)
    changed = copy.deepcopy(dict(models))
    pipeline = pipelines.pipeline_of(IMAGE, changed)
    _load(pipeline, case, models)
    pipeline.fuse_lora(components=list(COMPONENTS))
    pipeline.unload_lora_weights()
    return weights_of(changed)


@contextmanager
def _with_loras(case: LoraCase, models: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    own = copy.deepcopy(dict(models))
    if case.reference == "lycoris":
        for use in case.uses:
            for module in list(_modules(use, own)):
                module.apply_to()
    else:
        _load(pipelines.pipeline_of(IMAGE, own), case, models)
    yield own


def _load(pipeline: Any, case: LoraCase, models: Mapping[str, Any]) -> None:
    """Load LoRAs from files."""
    names, weights = [], []
    # Loading reports each parameter of the LoRA itself as missing.
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        for number, use in enumerate(case.uses):
            path = use.file.write(Path(folder), reference.shapes(models))
            name = f"lora{number}"
            pipeline.load_lora_weights(folder, weight_name=path.name, adapter_name=name)
            names.append(name)
            weights.append({"unet": use.unet, "text_encoder": use.text, "text_encoder_2": use.text})
    pipeline.set_adapters(names, adapter_weights=weights)


def _modules(use: Use, models: Mapping[str, Any]) -> Iterator[Any]:
    """Return LyCORIS' modules for the layers of a model, with the file's tensors."""
    shapes = reference.shapes(models)
    tensors = use.file.tensors(shapes)
    for component in COMPONENTS:
        for layer, _ in layers_of(shapes[component], use.file.layers):
            start = NAMINGS[use.file.naming](component, layer, "")
            parts = {
                name.removeprefix(start): torch.from_numpy(np.asarray(value))
                for name, value in tensors.items()
                if name.startswith(start)
            }
            with torch.no_grad():
                module = _module(models[component].get_submodule(layer), parts)
            module.multiplier = use.unet if component == "unet" else use.text
            module.target = component, layer
            yield module.eval()


def _module(layer: Any, parts: dict[str, torch.Tensor]) -> Any:
    get = parts.get
    alpha = get("alpha", torch.tensor(0.0))
    if "hada_w1_a" in parts:
        names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
        return LohaModule.make_module_from_state_dict(
            "", layer, *map(get, names), alpha, get("dora_scale")
        )
    if any(name.startswith("lokr") for name in parts):
        return _lokr(layer, parts, float(alpha))
    if "diff" in parts:
        return FullModule.make_module_from_state_dict("", layer, parts["diff"], get("diff_b"))
    if "w_norm" in parts:
        module = NormModule("", layer)
        module.w_norm.copy_(parts["w_norm"])
        module.b_norm.copy_(parts["b_norm"])
        return module
    scale = get("dora_scale")
    by_input = scale is not None and scale.shape[0] == 1
    down = parts["lora_down.weight"]
    module = LoConModule(
        "",
        layer,
        1,
        down.shape[0],
        float(alpha),
        use_tucker="lora_mid.weight" in parts,
        weight_decompose=scale is not None,
        wd_on_out=not by_input,
    )
    module.lora_down.weight.copy_(down)
    module.lora_up.weight.copy_(parts["lora_up.weight"])
    if "lora_mid.weight" in parts:
        module.lora_mid.weight.copy_(parts["lora_mid.weight"])
    if scale is not None:
        module.dora_scale.copy_(scale)
    return module


def _lokr(layer: Any, parts: dict[str, torch.Tensor], alpha: float) -> Any:
    """As `LokrModule.make_module_from_state_dict`, which misreads the rank of some forms."""
    factored = "lokr_w1_a" in parts
    module = LokrModule(
        "",
        layer,
        1,
        parts["lokr_w2_b"].shape[0] if "lokr_w2_b" in parts else 1,
        alpha,
        use_tucker="lokr_t2" in parts,
        decompose_both=factored,
        factor=FACTOR_OF_BOTH if factored else FACTOR,
        full_matrix="lokr_w2" in parts,
    )
    for name, value in parts.items():
        if name != "alpha":
            getattr(module, name).copy_(value)
    return module


@torch.no_grad()
def _merged_by_lycoris(case: LoraCase, models: Mapping[str, Any]) -> Weights:
    """Add each module's change to the weights, as the module's `forward` does."""
    weights = weights_of(models)
    for use in case.uses:
        for module in _modules(use, models):
            component, layer = module.target
            own = models[component].get_submodule(layer).weight
            change, bias = _change(module, own)
            weights[component][f"{layer}.weight"] += change.numpy()
            if bias is not None:
                weights[component][f"{layer}.bias"] += bias.numpy()
    return weights


def _change(module: Any, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    if isinstance(module, FullModule):
        bias = None if module.bias is None else module.bias * module.multiplier
        return module.weight * module.multiplier, bias
    if isinstance(module, NormModule):
        return module.w_norm * module.multiplier, module.b_norm * module.multiplier
    change = (
        module.make_weight() * module.scale
        if isinstance(module, LoConModule)
        else module.get_weight(own.shape)
    )
    if module.wd:
        return module.apply_weight_decompose(own + change, module.multiplier) - own, None
    return change * module.multiplier, None


def weights_of(models: Mapping[str, Any]) -> Weights:
    """Return copies of a model's weights."""
    return {
        component: {
            name: tensor.detach().numpy().copy()
            for name, tensor in models[component].state_dict().items()
        }
        for component in COMPONENTS
    }


def changed(weights: Weights, before: Weights) -> Weights:
    """Return the weights that differ."""
    return {
        part: {
            name: array
            for name, array in each.items()
            if not np.array_equal(array, before[part][name])
        }
        for part, each in weights.items()
    }
