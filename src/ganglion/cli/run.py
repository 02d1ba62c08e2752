"""`ganglion run`."""

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from ganglion.cli.data import check_output, read_input
from ganglion.cli.show import plain, print_json, say
from ganglion.errors import DataError
from ganglion.files import write_atomic
from ganglion.runtime import Port, Session

SHOWN_VALUES = 20


def run(build: Path, paths: list[Path], output: Path | None, scale: float, threads: int | None,
        as_json: bool) -> None:
    """Runs the built network on its inputs; prints the outputs, writes them too if asked."""
    session = Session(build, threads=threads)
    if output is not None:
        check_output(output, ".npy" if len(session.outputs) == 1 else ".npz")
    if len(paths) != len(session.inputs):
        names = ", ".join(p.name for p in session.inputs)
        raise DataError(f"{len(paths)} files for {len(session.inputs)} inputs ({names}); give one "
                        "file an input, in this order")
    arrays = [read_input(p, port, scale) for p, port in zip(paths, session.inputs)]
    outputs = _steps(session, arrays) if session.state_bytes else _listed(session.run(*arrays))
    if output is not None:
        _write(output, outputs, [p.name for p in session.outputs])
    if as_json:
        print_json({p.name: a.tolist() for p, a in zip(session.outputs, outputs)}
                   | {f"{p.name}.class": [_class(p, row) for row in a.reshape(len(a), -1)]
                      for p, a in zip(session.outputs, outputs) if _named(p)})
        return
    for port, array in zip(session.outputs, outputs):
        _show(port, array)


def _steps(session: Session, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Rows as steps one after another, through a network that keeps state from call to call."""
    lengths = {len(a) for a in arrays}
    if len(lengths) != 1 or any(p.shape[:1] != (1,) for p in session.inputs):
        raise DataError(f"network {session.name!r} keeps state and takes one step a call: give "
                        f"every input a row for each step, found {sorted(lengths)} rows")
    stream = session.stream()
    made = [_listed(stream.run(*(a[i:i + 1] for a in arrays))) for i in range(lengths.pop())]
    return tuple(np.concatenate(each) for each in zip(*made))


def _listed(found: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return found if isinstance(found, tuple) else (found,)


def _named(port: Port) -> bool:
    """Whether each row is one answer whose classes have names."""
    columns = math.prod(port.shape[1:])
    return len(port.shape) > 0 and len(port.classes) == max(columns, 2)


def _class(port: Port, row: np.ndarray) -> str:
    """The name of the class that a row of answers speaks for: the largest, or for a single column
    the second of the two where it is nearer to 1."""
    if row.size == 1:
        number = row[0] if port.scale is None else (
            (float(row[0]) - (port.zero_point or 0)) * port.scale)
        return port.classes[int(number > 0.5)]
    return port.classes[int(row.argmax())]


def _show(port: Port, array: np.ndarray) -> None:
    say(f"{port.name} {list(array.shape)} {array.dtype}")
    table = np.atleast_1d(array)
    for row in table.reshape(len(table), -1)[:SHOWN_VALUES]:
        values = " ".join(f"{v:.5g}" for v in row[:SHOWN_VALUES])
        best = f"   largest: {int(row.argmax())}" if row.size > 1 else ""
        if _named(port):
            best += f"   {_class(port, row)}"
        say(f"  {values}{' …' if row.size > SHOWN_VALUES else ''}{best}")
    if len(table) > SHOWN_VALUES:
        say(f"  … {len(table) - SHOWN_VALUES:,} more rows")


def _write(path: Path, outputs: tuple[np.ndarray, ...], names: list[str]) -> None:
    """One output as .npy, several as .npz by name."""
    buffer = io.BytesIO()
    if len(outputs) == 1:
        np.save(buffer, outputs[0], allow_pickle=False)
    else:
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, array in zip(_members(names), outputs):
                with archive.open(name, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())


def _members(names: list[str]) -> list[str]:
    """Names for the files in an archive: each its own, none outside of the folder that a program
    unpacks it into."""
    found: list[str] = []
    for name in names:
        parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".", "..")]
        member = plain("/".join(parts)).replace("\\", "_") or "output"
        while f"{member}.npy" in found:
            member += "_"
        found.append(f"{member}.npy")
    return found
