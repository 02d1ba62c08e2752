"""Which of the two bindings calls the generated code.

The extension `_session` where it was built, else ctypes; GANGLION_BINDING=ctypes asks for ctypes.
"""

import os
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganglion.errors import ToolchainError
from ganglion.runtime import _ctypes
from ganglion.runtime.library import Loaded

try:
    import ganglion.runtime._session as _session
except ImportError:  # not built for this Python: the pure one serves
    EXTENSION = False
else:
    EXTENSION = True

Core: TypeAlias = "_session.Core | _ctypes.Core"

BINDING = "cython" if EXTENSION and os.environ.get("GANGLION_BINDING") != "ctypes" else "ctypes"
"""The binding in use: "cython" or "ctypes"."""


def core_type(binding: str) -> "type[_session.Core] | type[_ctypes.Core]":
    """The class behind a binding's name. Raises ToolchainError where it was not built."""
    if binding == "ctypes":
        return _ctypes.Core
    if binding == "cython" and EXTENSION:
        return _session.Core
    raise ToolchainError(f"the binding {binding!r} is not there: take 'ctypes', or build the "
                         f"extension with `pip install .`")


def core_of(loaded: Loaded, binding: str, state: NDArray[np.uint8] | None) -> Core:
    """A library's function, ready to be called through a binding."""
    return core_type(binding)(loaded.run, loaded.arena_bytes, state, loaded.description.inputs,
                              loaded.description.outputs, loaded.run_with, loaded.worker_bytes,
                              loaded.library)
