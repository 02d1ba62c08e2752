"""Networks written by hand, built once for all tests of the runtime."""

import pytest
from tests.support.hand_made import built

from ganglion.runtime import Session
from ganglion.runtime.binding import EXTENSION


@pytest.fixture(params=["cython", "ctypes"])
def binding(request):
    if request.param == "cython" and not EXTENSION:
        pytest.skip("the extension is not built: python setup.py build_ext --inplace")
    return request.param


@pytest.fixture
def session(binding):
    """A function from a network's constant to its Session, in the binding under test."""
    return lambda name: Session.from_files(built(name), binding=binding)
