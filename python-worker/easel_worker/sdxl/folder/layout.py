"""The names of a diffusers folder's files."""

COMPONENTS = ("text_encoder", "text_encoder_2", "unet", "vae")
"""The folders with weights."""

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
TOKENIZERS = ("tokenizer", "tokenizer_2")
