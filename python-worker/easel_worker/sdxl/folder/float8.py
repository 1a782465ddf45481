"""Reads the 8-bit floating point tensors of a safetensors file.

safetensors' own NumPy reader fails on these dtypes, which NumPy itself lacks.
"""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.folder.header import read_header

_DTYPES = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}


class Float8Tensors:
    """The float8 tensors of a file, with the methods of `safe_open`'s handle that we use."""

    def __init__(self, file: Path) -> None:
        header = read_header(file)
        self._file = file
        self._end = header.end
        self._tensors = {
            name: info for name, info in header.tensors.items() if info.dtype in _DTYPES
        }

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def get_tensor(self, name: str) -> NDArray[Any]:
        """A copy of the tensor, in ml_dtypes' dtype."""
        info = self._tensors[name]
        dtype = np.dtype(_DTYPES[info.dtype])
        count, offset = int(np.prod(info.shape)), self._end + info.offset
        return np.fromfile(self._file, dtype, count, offset=offset).reshape(info.shape)

    def get_slice(self, name: str) -> NDArray[Any]:
        """An array to take rows of."""
        return self.get_tensor(name)
