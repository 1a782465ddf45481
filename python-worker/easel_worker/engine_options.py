"""Options that several engines have: declared once, so that they mean the same in each."""

from easel_worker import parse
from easel_worker.options import Option

SIZES = Option(
    parse.sizes,
    "sizes to serve, such as 1024x1024,512x512 (default: those that the model names)",
)

ROWS = Option(
    parse.positive,
    "how many rows one denoising step holds; a guided image takes two (default: 32, "
    "for each device)",
)

MAX_CACHE_INTERVAL = Option(
    parse.positive,
    "the most that a request's cache_interval may be; above 1 more programs are compiled, "
    "and an image in flight holds more memory",
)
