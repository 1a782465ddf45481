"""Options that several engines share."""

from pathlib import Path

from easel_worker import parse
from easel_worker.options import Option

SIZES = Option(
    parse.sizes,
    "image sizes to serve, such as 1024x1024,512x512; sdxl stands for the nine usual sizes of SDXL "
    "(default: those that the model names)",
)

ROWS = Option(
    parse.positive,
    "how many rows one denoising step holds; a guided image takes two rows (default: 32 "
    "for each device)",
)

MAX_CACHE_INTERVAL = Option(
    parse.positive,
    "the largest cache_interval that a request may have; above 1 the worker compiles more "
    "programs, and an image in flight needs more memory",
)

LORAS = Option(
    parse.folder,
    "a folder of LoRAs as .safetensors files, which requests name by their path in it; the worker "
    "follows changes of the folder (default: none)",
)

LORA_SETS = Option(
    parse.positive,
    "how many different sets of LoRAs images in flight may have at once; each set takes the memory "
    "of the weights that its LoRAs change",
)

EMBEDDINGS = Option(
    parse.folder,
    "a folder of embeddings (textual inversions) for SDXL as .safetensors files, which prompts "
    "name; the worker follows changes of the folder (default: none)",
)

CONTROLNETS = Option(
    parse.folder,
    "a folder of ControlNets and T2I-Adapters for SDXL, which requests name to follow a picture's "
    "edges, depth or pose; they are read when the worker starts (default: none)",
)

IP_ADAPTERS = Option(
    parse.folder,
    "a folder of IP-Adapters for SDXL, which requests name to have a picture as a prompt; they are "
    "read when the worker starts (default: none)",
)

REFINER = Option(
    Path,
    "SDXL's refiner, which does the last steps of images with denoising_end: a diffusers folder or "
    "a single file; it is read and compiled after the worker is ready (default: none)",
)

IMAGE_INPUTS = Option(
    parse.switch,
    "whether requests may bring an image to begin from, and a mask of what to repaint; false saves "
    "the programs for it, which are compiled after the worker is ready, and the VAE's encoder",
)

MAX_PROMPT_CHUNKS = Option(
    parse.positive,
    "the largest number of chunks of 75 tokens that a prompt may have; each number above 1 takes "
    "more programs, which are compiled after the worker is ready",
)
