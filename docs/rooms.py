"""The folders of `src/ganglion` and who imports whom, read from the source.

`python docs/rooms.py FILE` draws FILE (.svg, .png or .pdf): a box a folder, below it what it
imports. An arrow that follows from two others is left out.
"""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "ganglion"
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")

Arrows = Mapping[str, set[str]]


def room_of(path: Path) -> str:
    """The folder (or top-level module) that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Every dotted name that a file imports, wherever in it. Raises ValueError for a relative one.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: relative import")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    """What stands behind the package's name in all that a file imports of it."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("ganglion.")}


def arrows() -> dict[str, set[str]]:
    """Folder -> the folders that its files import, itself and single modules apart."""
    folders = {room_of(path) for path in FILES if path.parent != SOURCE}
    found: dict[str, set[str]] = {folder: set() for folder in folders}
    for path in FILES:
        room = room_of(path)
        if room in folders:
            found[room] |= rooms_imported(path) & folders - {room}
    return found


def reach(room: str, found: Arrows) -> set[str]:
    """All rooms that one stands on, directly or not. `found` has no circle."""
    return found[room].union(*(reach(other, found) for other in found[room]))


def shortest(found: Arrows) -> dict[str, set[str]]:
    """The arrows that do not follow from others."""
    return {room: {o for o in others if not any(o in reach(k, found) for k in others - {o})}
            for room, others in found.items()}


def height(room: str, found: Arrows) -> int:
    """How many rooms lie below one on the longest way down."""
    return max((1 + height(other, found) for other in found[room]), default=0)


def draw(target: Path) -> None:
    """Writes the picture; the ending of `target` decides the format."""
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot as plt

    found = arrows()
    levels: dict[int, list[str]] = {}
    for room in sorted(found):
        levels.setdefault(height(room, found), []).append(room)
    place = {room: ((k + 0.5) / len(row), level) for level, row in levels.items()
             for k, room in enumerate(row)}
    figure, axes = plt.subplots(figsize=(9, 1 + len(levels)))
    for room, others in shortest(found).items():
        for other in others:
            axes.annotate("", xy=place[other], xytext=place[room], arrowprops={
                "arrowstyle": "->", "color": "0.55", "shrinkA": 13, "shrinkB": 13})
    for room, (x, y) in place.items():
        axes.text(x, y, room, ha="center", va="center",
                  bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "0.2"})
    axes.set(xlim=(0, 1), ylim=(-0.5, len(levels) - 0.5))
    axes.axis("off")
    figure.savefig(target, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
