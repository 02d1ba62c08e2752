"""`ganglion run`."""

import io
from pathlib import Path

import numpy as np

from ganglion.cli.data import read_input
from ganglion.cli.show import print_json, say
from ganglion.errors import DataError
from ganglion.files import write_atomic
from ganglion.runtime import Session

SHOWN_VALUES = 20


def run(build: Path, paths: list[Path], output: Path | None, as_json: bool) -> None:
    """Runs the built network on its inputs; prints the outputs or writes the first as .npy."""
    session = Session(build)
    if len(paths) != len(session.inputs):
        names = ", ".join(p.name for p in session.inputs)
        raise DataError(f"{len(paths)} files for {len(session.inputs)} inputs ({names}); give one "
                        "file an input, in this order")
    arrays = [read_input(p, port) for p, port in zip(paths, session.inputs)]
    found = session.run(*arrays)
    outputs = found if isinstance(found, tuple) else (found,)
    if output is not None:
        _write(output, outputs, [p.name for p in session.outputs])
    if as_json:
        print_json({p.name: a.tolist() for p, a in zip(session.outputs, outputs)})
        return
    for port, array in zip(session.outputs, outputs):
        say(f"{port.name} {list(array.shape)} {array.dtype}")
        for row in array.reshape(len(array), -1)[:SHOWN_VALUES]:
            values = " ".join(f"{v:.5g}" for v in row[:SHOWN_VALUES])
            best = f"   largest: {int(row.argmax())}" if row.size > 1 else ""
            say(f"  {values}{' …' if row.size > SHOWN_VALUES else ''}{best}")


def _write(path: Path, outputs: tuple[np.ndarray, ...], names: list[str]) -> None:
    """One output as .npy, several as .npz by name."""
    buffer = io.BytesIO()
    wanted = ".npy" if len(outputs) == 1 else ".npz"
    if path.suffix != wanted:
        raise DataError(f"{path}: {len(outputs)} output(s) are written as {wanted}")
    if len(outputs) == 1:
        np.save(buffer, outputs[0], allow_pickle=False)
    else:
        np.savez(buffer, **dict(zip(names, outputs)))  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())
