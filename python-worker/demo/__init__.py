"""The demo model: the scenes it draws, its training, and how well it follows prompts."""
