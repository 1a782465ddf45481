"""LoRAs of every format, against diffusers with PEFT, and LyCORIS."""
