"""The demo model: its scenes, its training, and an evaluation of how well it follows prompts."""
