"""Laws of the package's front door."""

import importlib.util
import subprocess
import sys

import pytest

import ganglion


@pytest.mark.parametrize("name", sorted(ganglion.HOMES))
def test_every_public_name_is_there(name):
    home = importlib.util.find_spec(ganglion.HOMES[name])
    assert home is not None
    found = getattr(ganglion, name)
    assert callable(found)
    assert found.__name__ == name


@pytest.mark.parametrize("name", sorted(ganglion.MODULES))
def test_every_public_module_is_there(name):
    assert getattr(ganglion, name).__name__ == ganglion.MODULES[name]


def test_names_are_listed_without_being_loaded():
    code = ("import sys, ganglion; assert set(ganglion.HOMES) <= set(dir(ganglion)); "
            "print([m for m in sys.modules if m.startswith(('ganglion.', 'onnx', 'numpy'))])")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             check=True).stdout
    assert printed.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        ganglion.predict  # noqa: B018
