"""A folder with a sub-folder for each class: which files, and of which class."""

from collections.abc import Callable, Collection
from pathlib import Path

from ganglion.errors import DataError

Label = Callable[[Path], str]
"""Gives the class of a file, from its path."""


def labelled_files(folder: Path, suffixes: Collection[str],
                   label: Label | None = None) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Files of `folder`, the class number of each, and the classes' names, all in sorted order.

    Without `label` every sub-folder is a class and all files below it, at any depth, are of it;
    with it every file below `folder` is taken and named by the function. Files with other
    suffixes and hidden ones are passed over. Raises DataError when nothing is found.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file()
                   and not any(part.startswith(".") for part in p.relative_to(folder).parts))
    if label is None:
        loose = [p for p in found if p.parent == folder]
        if loose:
            raise DataError(f"{loose[0]}: lies beside the classes' sub-folders; move it into one, "
                            "or give label=, a function from a file's path to its class")
    if not found:
        raise DataError(f"{folder}: holds no files {', '.join(sorted(suffixes))}; expected one "
                        "sub-folder for each class with such files in it")
    names = [label(p) if label else p.relative_to(folder).parts[0] for p in found]
    classes = tuple(sorted(set(names)))
    numbers = {name: k for k, name in enumerate(classes)}
    return found, [numbers[name] for name in names], classes
