"""Golden files of transformers' CLIPTokenizer, for both of our readers of tokenizer folders."""
