"""What AUTOMATIC1111's web UI and compel read in a prompt: goldens for `src/prompt/`."""
