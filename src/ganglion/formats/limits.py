"""How much a file may ask for: work and memory are bounded by its size and by these numbers."""

from dataclasses import dataclass

from ganglion.errors import ModelError, TrustError

MAX_ITERATIONS = 1000
"""Copies of a loop's body that are written out."""
MAX_NODES = 20_000
"""Nodes of a network once its functions and inner networks are laid open."""
MAX_BYTES = 1 << 28
"""Bytes that loading may make beyond those of the file: packed, shared or computed constants."""


@dataclass(frozen=True)
class Limits:
    """What a caller of `ganglion.load` allows."""

    nodes: int = MAX_NODES
    bytes: int = MAX_BYTES

    def check_nodes(self, count: int, what: str) -> None:
        """Raises ModelError for too many nodes. `what`: who has them, for the message."""
        if count > self.nodes:
            raise ModelError(f"{what} has {count} nodes, expected at most {self.nodes}; if the "
                             f"file is to be trusted, load(path, max_nodes={count}) raises the "
                             "limit")

    def check_bytes(self, made: int, held: int, what: str) -> None:
        """Raises TrustError when `held` bytes of a file become more than they and the limit."""
        if made > held + self.bytes:
            raise TrustError(f"{what} unfolds from {held} to {made} bytes, expected at most "
                             f"{held + self.bytes}; if the file is to be trusted, "
                             f"load(path, max_bytes={made - held}) raises the limit")


DEFAULT = Limits()
