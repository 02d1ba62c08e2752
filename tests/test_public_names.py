"""Laws of the package's front door."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

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


def test_all_lists_what_a_star_import_gives():
    names = {}
    exec("from ganglion import *", names)
    assert set(ganglion.__all__) == {*ganglion.HOMES, *ganglion.MODULES}
    assert set(ganglion.__all__) <= names.keys()
    assert set(ganglion.__all__) <= set(dir(ganglion))


def test_a_type_checker_sees_the_names_that_are_handed_out():
    tree = ast.parse(Path(ganglion.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: f"{node.module}.{alias.name}"
            for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen.keys() == set(ganglion.__all__)
    assert {name: seen[name] for name in ganglion.MODULES} == ganglion.MODULES
