"""Weighted and long prompts, compared with AUTOMATIC1111's arithmetic and with compel."""
