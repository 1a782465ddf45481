"""Single files: diffusers' `from_single_file` against our reading of the same file."""
