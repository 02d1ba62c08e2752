"""What a build gives: files and a manifest, in memory until saved."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ganglion.errors import DataError, TargetError
from ganglion.files import replace_folder
from ganglion.plan.types import Plan
from ganglion.runtime import Session, Trainer


@dataclass(frozen=True)
class Artifact:
    """A built network. `files`: {name: bytes}, `manifest.json` among them; `plan`: how it computes.

    Sizes are in bytes: `arena_bytes` of working memory a call, `state_bytes` kept between calls,
    `const_bytes` of weights and tables, `library_bytes` of the compiled file (0 for sources only).
    """

    name: str
    target: str
    files: Mapping[str, bytes] = field(repr=False)
    manifest: Mapping[str, object] = field(repr=False)
    plan: Plan = field(repr=False)
    library: str | None = None

    @property
    def arena_bytes(self) -> int:
        return self.plan.arena_bytes

    @property
    def state_bytes(self) -> int:
        return self.plan.state_bytes

    @property
    def const_bytes(self) -> int:
        return self.plan.const_bytes

    @property
    def library_bytes(self) -> int:
        return 0 if self.library is None else len(self.files[self.library])

    def save(self, path: str | Path) -> Path:
        """Writes the folder: aside first, then renamed, so that a failure leaves the old one.

        Several processes may save into one folder: each puts its build there whole, and the last
        one's stays. Raises DataError where the folder can't be written, and for one that holds
        something else."""
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_folder(path, self.files)
        except OSError as error:
            raise DataError(f"cannot write the build to {path}: {error.strerror or error}; what "
                            f"was there is kept: free space there, or save into another "
                            f"folder") from error
        return path

    def session(self) -> Session:
        """Loads the library into this process. Raises TargetError for another machine's build."""
        self._require_library()
        return Session.from_files(self.files)

    def trainer(self) -> Trainer:
        """Loads what `compile_training` built into this process. Raises as `session`, and DataError
        for a build that does not train."""
        self._require_library()
        return Trainer.from_files(self.files)

    def _require_library(self) -> None:
        if self.library is None:
            raise TargetError(f"target {self.target!r} gives C sources only; compile for 'host' to "
                              "run the network here")


def manifest_bytes(manifest: Mapping[str, object]) -> bytes:
    """The manifest as JSON, keys in the order given, ending in a newline."""
    return (json.dumps(manifest, indent=2) + "\n").encode()
