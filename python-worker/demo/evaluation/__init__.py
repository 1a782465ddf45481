"""Does the demo model follow prompts? Measures pictures of held-out captions, without torch."""
