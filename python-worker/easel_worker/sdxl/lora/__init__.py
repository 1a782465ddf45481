"""LoRAs and their relatives: files of small changes to a model's weights."""
