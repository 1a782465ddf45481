"""Files that nothing here loads."""

import re

PICKLES = re.compile(r".*\.(bin|ckpt|pt|pth|pickle)")
"""Names of files that can run code when they are loaded."""
