"""What the readers of libraries share: what they find, and how they refuse."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ganglion.errors import TrustError


@dataclass(frozen=True)
class Exports:
    """What a library exports by name, and where in the file its bytes are."""

    functions: Mapping[str, int]
    objects: Mapping[str, int]

    @property
    def names(self) -> frozenset[str]:
        """All names."""
        return frozenset((*self.functions, *self.objects))


def refuse(where: str, what: str) -> TrustError:
    """The error for a library that no honest build looks like. `what`: "has ..."."""
    return TrustError(f"{where}: the library {what}. No build of a network does; it was not loaded "
                      f"and nothing of it has run: build the network again, or ask whoever gave "
                      f"you the folder")


def require(condition: bool, where: str, what: str) -> None:
    """Raises `refuse` unless the condition holds."""
    if not condition:
        raise refuse(where, what)


def unpack(record: struct.Struct, data: bytes, at: int, where: str) -> tuple[int, ...]:
    """One record of the file; TrustError where the file ends before it does."""
    require(at + record.size <= len(data), where, "ends in the middle of a record")
    return record.unpack_from(data, at)
