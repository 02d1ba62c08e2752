"""The import-layer law: folders import along the table's edges and nowhere else."""

import ast
import sys
from pathlib import Path

import pytest
from docs.rooms import FILES, SOURCE, imported, room_of, rooms_imported

from docs import rooms

LEAVES = {"errors", "files", "cpu", "locks", "scratch", "tensors"}
"""Modules beside the folders, which every folder may import."""

ALLOWED = {
    "errors": set(),
    "files": {"errors", "locks"},
    "cpu": {"errors"},
    "locks": set(),
    "scratch": {"locks"},
    "tensors": {"errors"},
    "ops": set(),
    "layers": {"ops"},
    "passes": {"ops"},
    "formats": {"layers", "ops", "passes"},
    "kernels": set(),
    "plan": {"ops", "kernels"},
    "emit": {"plan", "kernels"},
    "toolchain": set(),
    "runtime": set(),
    "data": set(),
    "artifact": {"ops", "passes", "kernels", "plan", "emit", "toolchain", "runtime"},
    "training": {"data", "formats", "ops", "passes", "artifact", "runtime"},
    "compression": {"ops", "passes", "training", "artifact"},
    "federated": {"artifact", "runtime"},
    "cli": {"data", "ops", "layers", "formats", "passes", "kernels", "plan", "emit",
            "toolchain", "runtime", "artifact", "training", "compression", "federated"},
}
"""What each folder may import besides itself and the leaves."""

DEVICE = {"numpy", "ganglion"}
"""All that `runtime` may import besides the standard library: what a device has."""


def test_every_folder_has_its_row():
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert folders | modules <= set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_down_the_table(path):
    room = room_of(path)
    leaves = LEAVES if room not in LEAVES else set()
    assert rooms_imported(path) & set(ALLOWED) <= ALLOWED[room] | leaves | {room}


def test_the_package_itself_imports_nothing_of_its_own_when_loaded():
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            assert "ganglion" not in ast.unparse(statement)


def test_the_runtime_needs_numpy_alone():
    for path in (SOURCE / "runtime").glob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert tops - set(sys.stdlib_module_names) <= DEVICE, path


def test_a_device_that_learns_with_others_needs_no_more():
    for path in (SOURCE / "federated" / "device").glob("*.py"):
        assert rooms_imported(path) <= {"errors", "files", "tensors", "runtime", "federated"}, path
        inside = {name for name in imported(path) if name.startswith("ganglion.federated.")}
        assert all(name.startswith("ganglion.federated.device") for name in inside), path
        tops = {name.split(".")[0] for name in imported(path)}
        assert tops - set(sys.stdlib_module_names) <= DEVICE, path


def arrows() -> dict[str, set[str]]:
    """Module -> the modules that it imports, wherever in it; the package's own front door, which
    imports nothing until it is asked, apart."""
    def name_of(path: Path) -> str:
        parts = ("ganglion", *path.relative_to(SOURCE).with_suffix("").parts)
        return ".".join(parts).removesuffix(".__init__")

    modules = {name_of(path): path for path in FILES}
    known = {*modules, *map(name_of, SOURCE.rglob("*.pyx"))}
    return {module: {name if name in known else name.rpartition(".")[0]
                     for name in imported(path)} & set(modules) - {module}
            for module, path in modules.items()}


def test_no_module_comes_back_to_itself():
    left = arrows()
    while True:
        leaves = {m for m, found in left.items() if not found & set(left)}
        if not leaves:
            break
        left = {m: found for m, found in left.items() if m not in leaves}
    assert left == {}


def test_the_picture_shows_every_folder_above_what_it_imports(tmp_path: Path) -> None:
    rooms.draw(tmp_path / "rooms.svg")
    drawn = (tmp_path / "rooms.svg").read_text()
    found = rooms.arrows()
    assert set(found) == {path.name for path in SOURCE.iterdir() if path.is_dir()
                          and (path / "__init__.py").exists()}
    for room, others in found.items():
        assert f">{room}</text>" in drawn
        assert all(rooms.height(room, found) > rooms.height(other, found) for other in others)
        kept = rooms.shortest(found)
        assert rooms.reach(room, kept) == rooms.reach(room, found)
