"""What transformers' CLIPTokenizer says, for both of our readers of tokenizer folders."""
