"""What `pip install NAME` puts on a disk: a distribution and all that it needs, in bytes."""

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def installed_bytes(*modules: str) -> int:
    """Files of the distributions that hold `modules` and, without extras, of all they require."""
    homes = metadata.packages_distributions()
    names = {each for m in modules if m in homes for each in closure(homes[m][0])}
    return sum(map(_files_bytes, names)) + sum(_folder_bytes(m) for m in modules
                                               if m not in homes)


def closure(name: str) -> set[str]:
    """The distribution and what it requires, as far as it is installed."""
    found: set[str] = set()
    waiting = [canonicalize_name(name)]
    while waiting:
        each = waiting.pop()
        if each in found:
            continue
        try:
            required = metadata.requires(each) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(each)
        needs = [Requirement(text) for text in required]
        waiting += [canonicalize_name(r.name) for r in needs
                    if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def _files_bytes(name: str) -> int:
    paths = [Path(str(file.locate())) for file in metadata.files(name) or []]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _folder_bytes(module: str) -> int:
    """Of a package that runs from a source tree."""
    spec = find_spec(module)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    return sum(f.stat().st_size for place in places for f in Path(place).rglob("*")
               if f.is_file())
