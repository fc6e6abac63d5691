"""C functions of installed libraries, for code that numba compiles."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import llvmlite.binding
import mujoco
import numpy as np
from numba import types

# The extension modules: who looks a symbol up in one looks in the libraries that it was linked to, too.
MUJOCO = ctypes.CDLL(mujoco._functions.__file__)
NUMPY = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]

BLAS_PRODUCT = "scipy_cblas_dgemv64_"
"""What NumPy's wheels from PyPI call the routine behind `np.dot` of a matrix and a vector, with 64-bit sizes."""


def external(library: ctypes.CDLL, symbol: str, *arguments: types.Type) -> Callable[..., None]:
    """A function that compiled code may call; it returns nothing. Raises AttributeError when the library lacks it.

    Compiled code refers to it by name and not by address, so that it can be kept on disk.
    """
    llvmlite.binding.add_symbol(f"ript_{symbol}", ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value)
    function: Callable[..., None] = types.ExternalFunction(f"ript_{symbol}", types.void(*arguments))
    return function
