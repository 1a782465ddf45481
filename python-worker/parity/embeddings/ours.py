"""Makes images with embeddings with our engine."""

from pathlib import Path

from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.embeddings.cases import FILES, IMAGE
from parity.loras.files import FILES as LORA_FILES
from parity.loras.files import Shapes
from parity.pipeline import ours as pipeline


def engine_for(
    folder: Path, files: Path, shapes: Shapes, compiler: Compiler | None = None
) -> SdxlEngine:
    """Return a warm engine with all embeddings and a LoRA.

    Args:
        folder: has the model's parts; see `pipeline.ours.engine_for`.
        files: an empty folder.
        shapes: of the model's tensors.
        compiler: see `pipeline.ours.engine_for`.
    """
    embeddings, loras = files / "embeddings", files / "loras"
    for each in (embeddings, loras):
        each.mkdir()
    for file in FILES:
        file.write(embeddings, IMAGE.model)
    LORA_FILES["peft-all"].write(loras, shapes)
    return pipeline.engine_for(IMAGE, folder, loras=loras, embeddings=embeddings, compiler=compiler)
