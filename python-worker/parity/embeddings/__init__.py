"""Images whose prompts name embeddings, against diffusers."""
