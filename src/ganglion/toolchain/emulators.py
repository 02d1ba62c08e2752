"""Running a build for another machine here, to see that it answers alike.

For the host, and for Arm and RISC-V under qemu, the network and `harness.c` become a program;
WebAssembly is loaded into wasmtime; microcontrollers are boards of qemu's (`boards`). Rows go in
and come out as raw bytes, little-endian like every target.
"""

import importlib.util
import os
import shutil
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ganglion import cpu
from ganglion.errors import DataError, TargetError, ToolchainError
from ganglion.toolchain import boards
from ganglion.toolchain.compilers import (
    COMMON_FLAGS,
    build,
    compile_sources,
    compiler_command,
    linking,
    run_process,
    working_folder,
)
from ganglion.toolchain.targets import Target, host

if TYPE_CHECKING:
    import wasmtime

ALIGNMENT = 64
QEMU: Mapping[str, str] = {"qemu-aarch64": "aarch64", "qemu-riscv64": "riscv64"}
"""Emulators of another processor's Linux programs, and the machine that needs none for them."""
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
            "-fno-omit-frame-pointer")
PAGE_BYTES = 65536
"""A page of WebAssembly memory."""

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Rows:
    """Bytes of `count` calls, port after port in each row, and the outputs' dtypes and shapes."""

    count: int
    in_bytes: tuple[int, ...]
    out_dtypes: tuple[np.dtype[np.generic], ...]
    out_shapes: tuple[tuple[int, ...], ...]
    data: bytes

    @property
    def out_bytes(self) -> tuple[int, ...]:
        """Bytes of each output in one row."""
        return tuple(prod(s) * d.itemsize for d, s in zip(self.out_dtypes, self.out_shapes))


def available(target: Target) -> bool:
    """Whether `run_emulated` can run this target's code on this machine."""
    if target.emulator == "native":
        return target.triple == host().triple and set(target.isas) <= set(cpu.isas())
    if target.emulator in QEMU:
        return sys.platform == "linux" and (not _is_foreign(target) or _qemu(target) is not None)
    if target.emulator in boards.BOARDS:
        return boards.installed()
    if target.emulator == "wasmtime":
        return importlib.util.find_spec("wasmtime") is not None
    return False


@dataclass(frozen=True)
class Emulated:
    """A build ready to run as its target would: compiled once, for any number of runs.

    `binary`: a program, or a WebAssembly module. `function`: the one of the network's that is
    called, whose inputs and outputs `description` gives.
    """

    target: Target
    description: Mapping[str, object]
    binary: bytes
    timeout: float
    function: str = "run"

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs. `inputs`: an array per input of the description, each of its port's shape
        (one call; outputs have their ports' shapes) or [count, *shape] (that many calls in a row;
        outputs likewise). The state is reset before the first call and carried on.

        Raises DataError for inputs that do not fit, ToolchainError when the run fails."""
        return self.run_with_state(inputs)[0]

    def run_with_state(self, inputs: Sequence[Array]) -> tuple[list[Array], dict[str, Array]]:
        """The outputs, and the state's tensors by name as the last call left them."""
        return self.measured(inputs)[:2]

    def measured(self, inputs: Sequence[Array]
                 ) -> tuple[list[Array], dict[str, Array], boards.Cost | None]:
        """The outputs, the state, and what the last call took where the emulator counts that."""
        rows, single = _rows(self.description, inputs)
        name, cost = str(self.description["name"]), None
        if self.target.emulator == "wasmtime":
            raw = _run_wasm(self.binary, name, self.function, rows)
        elif self.target.emulator in boards.BOARDS:
            raw, cost = boards.run(self.binary, self.target, (rows.in_bytes, rows.out_bytes),
                                   rows.count, rows.data, self.timeout)
        else:
            raw = _run_program(self.binary, name, rows, _started_by(self.target), self.timeout)
        row_bytes = rows.count * sum(rows.out_bytes)
        if len(raw) < row_bytes:
            raise ToolchainError(f"the emulated network wrote {len(raw)} bytes, expected "
                                 f"{row_bytes}")
        return (_outputs(raw[:row_bytes], rows, single),
                _state(self.description, raw[row_bytes:]), cost)


def emulate(files: Mapping[str, str], target: Target, description: Mapping[str, object], *,
            cc: str | None = None, sanitize: bool = False, timeout: float = 600.0,
            function: str = "run") -> Emulated:
    """Compile generated sources to run here as `target` would run them.

    `function`: which of the network's functions a run calls: "run", or an entry of `description`.

    `sanitize`: with the address and undefined-behaviour sanitizers, for this machine's own
    processor; needs cc="gcc" or "clang". `timeout`: seconds, for the compile and for each run.
    Raises TargetError where this machine can't run the target, ToolchainError when compiling fails.
    """
    if not available(target):
        raise TargetError(_how_to(target))
    name, description = str(description["name"]), _described(description, function)
    if target.emulator == "wasmtime":
        made = compile_sources(files, target, name=name, cc=cc, timeout=timeout,
                               functions=(function,))
        return Emulated(target, description, made.files[str(made.library)], timeout, function)
    if sanitize and (_is_foreign(target) or cc is None):
        raise ToolchainError("the sanitizers run on this machine's own processor with its own "
                             "compiler: give cc='gcc' and the target 'host'")
    make: Callable[..., bytes] = partial(_program, sanitize=sanitize)
    if target.emulator in boards.BOARDS:
        make = boards.firmware
    program = make(files, target, name, function, cc, timeout=timeout)
    return Emulated(target, description, program, timeout, function)


def run_emulated(files: Mapping[str, str], target: Target, description: Mapping[str, object],
                 inputs: Sequence[Array], *, cc: str | None = None, sanitize: bool = False,
                 timeout: float = 600.0) -> list[Array]:
    """Compile and run once: see `emulate` and `Emulated.run`."""
    return emulate(files, target, description, cc=cc, sanitize=sanitize,
                   timeout=timeout).run(inputs)


def _described(description: Mapping[str, object], function: str) -> Mapping[str, object]:
    """The description with the inputs and outputs of this function; DataError without it."""
    entries = description.get("entries", {})
    if function == "run" or not isinstance(entries, Mapping):
        return description
    if function not in entries:
        raise DataError(f"the network has no function {function!r}; it has "
                        f"{', '.join(['run', *entries])}")
    return {**description, **entries[function]}


def _how_to(target: Target) -> str:
    if target.emulator == "native":
        return (f"this machine ({host().triple}) has {', '.join(cpu.isas())}, target "
                f"{target.name!r} ({target.triple}) may use {', '.join(target.isas)}: narrow the "
                f"target with with_isas(), or run it there")
    missing = {**{name: f"install qemu-user (it brings {name})" for name in QEMU},
               **dict.fromkeys(boards.BOARDS, f"install {boards.QEMU}"),
               "wasmtime": "`pip install wasmtime`"}.get(target.emulator or "")
    if missing is None:
        return f"there is no emulator for target {target.name!r}: run its build on the device"
    return f"target {target.name!r} runs here only under an emulator: {missing}"


def _is_foreign(target: Target) -> bool:
    """Whether the target's program runs here only under an emulator of its processor."""
    return cpu.machine() != QEMU.get(target.emulator or "", cpu.machine())


def _started_by(target: Target) -> list[str]:
    """The words in front of the program's own."""
    return [_qemu(target) or str(target.emulator)] if _is_foreign(target) else []


def _qemu(target: Target) -> str | None:
    return shutil.which(f"{target.emulator}") or shutil.which(f"{target.emulator}-static")


def _rows(description: Mapping[str, object], inputs: Sequence[Array]) -> tuple[Rows, bool]:
    """The inputs as bytes, and whether they are one call without the count axis."""
    ins, outs = _ports(description, "inputs"), _ports(description, "outputs")
    if len(inputs) != len(ins):
        raise DataError(f"found {len(inputs)} input arrays, expected {len(ins)}")
    single = all(a.shape == shape for a, (_, _, shape) in zip(inputs, ins))
    arrays = [np.asarray(a)[None] if single else np.asarray(a) for a in inputs]
    counts = {a.shape[0] for a in arrays if a.ndim} or {1}
    for array, (name, dtype, shape) in zip(arrays, ins):
        if array.dtype != dtype or array.shape[1:] != shape or len(counts) != 1:
            raise DataError(f"input {name!r} is {array.dtype}{list(array.shape)}, expected {dtype} "
                            f"of shape {list(shape)} or [count, *{list(shape)}]")
    count = counts.pop()
    little = [np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for a in arrays]
    data = b"".join(a[row].tobytes() for row in range(count) for a in little)
    return Rows(count, tuple(prod(s) * d.itemsize for _, d, s in ins),
                tuple(d.newbyteorder("<") for _, d, _ in outs), tuple(s for _, _, s in outs),
                data), single


Port = tuple[str, np.dtype[np.generic], tuple[int, ...]]


def _ports(description: Mapping[str, object], which: str) -> list[Port]:
    listed = description[which]
    if not isinstance(listed, list):
        raise DataError(f"the description's {which} are {listed!r}, expected a list")
    return [(str(p["name"]), np.dtype(p["dtype"]), tuple(p["shape"])) for p in listed]


def _outputs(raw: bytes, rows: Rows, single: bool) -> list[Array]:
    table = np.frombuffer(raw, np.uint8).reshape(rows.count, sum(rows.out_bytes))
    outputs, at = [], 0
    for dtype, shape, nbytes in zip(rows.out_dtypes, rows.out_shapes, rows.out_bytes):
        part = np.ascontiguousarray(table[:, at:at + nbytes])
        array = part.reshape(-1).view(dtype).reshape(rows.count, *shape)
        outputs.append((array[0] if single else array).astype(dtype.newbyteorder("=")))
        at += nbytes
    return outputs


def _state(description: Mapping[str, object], block: bytes) -> dict[str, Array]:
    """The tensors of a state block; `order` says how a tensor's axes lie in memory."""
    listed = description.get("state", [])
    if not isinstance(listed, list):
        raise DataError(f"the description's state is {listed!r}, expected a list")
    found: dict[str, Array] = {}
    for tensor in listed:
        shape, dtype = tuple(tensor["shape"]), np.dtype(tensor["dtype"]).newbyteorder("<")
        order = list(tensor.get("order", range(len(shape))))
        stored = np.frombuffer(block, dtype, prod(shape), tensor["offset"])
        array = stored.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
        found[tensor["name"]] = np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)
    return found


def _run_program(program: bytes, name: str, rows: Rows, emulator: Sequence[str], timeout: float
                 ) -> bytes:
    """Run a program made of the network and the harness, natively or under qemu."""
    sizes = [len(rows.in_bytes), *rows.in_bytes, len(rows.out_bytes), *rows.out_bytes]
    # The generated code takes no memory of its own, so there are no leaks to look for.
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    with working_folder("run") as folder:
        path = folder / name
        path.write_bytes(program)
        path.chmod(0o700)
        command = [*emulator, str(path), str(rows.count), *map(str, sizes)]
        return run_process(command, cwd=folder, timeout=timeout, given=rows.data, env=env)


def _program(files: Mapping[str, str], target: Target, name: str, function: str, cc: str | None,
             *, sanitize: bool, timeout: float) -> bytes:
    """The network and the harness as one program; a static one where it runs under qemu."""
    harness = (resources.files("ganglion.toolchain") / "harness.c").read_text(encoding="utf-8")
    compiler = compiler_command(cc, target)
    sanitizers: tuple[str, ...] = SANITIZE if sanitize else ()
    emulated = target.emulator in QEMU
    if emulated:
        compiler = [word.replace("-linux-gnu", "-linux-musl") for word in compiler]
    sources = sorted({*(file for file in files if file.endswith(".c")), "harness-main.c"})
    symbols = {"RUN": function, "RESET": "reset", "ARENA_BYTES": "arena_bytes",
               "STATE_BYTES": "state_bytes"}
    translate = [*compiler, *COMMON_FLAGS, *target.machine_flags, *target.flags, *sanitizers,
                 *(f"-D{macro}={name}_{symbol}" for macro, symbol in symbols.items()),
                 f'-DHEADER="{name}.h"', "-c"]
    link = [*linking(compiler), *sanitizers, *(["-static"] if emulated else []),
            *(f"{Path(file).stem}.o" for file in sources), "-o", "program"]
    return build({**files, "harness-main.c": harness}, [*([*translate, s] for s in sources), link],
                 "program", timeout=timeout)


def _run_wasm(module: bytes, name: str, function: str, rows: Rows) -> bytes:
    """Rows through a WebAssembly module, whose own memory holds everything."""
    import wasmtime

    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    try:
        instance = wasmtime.Instance(store, wasmtime.Module(engine, module), [])
        return _WasmNetwork(store, instance, name, rows).run(rows, function)
    except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
        raise ToolchainError(f"wasmtime can't run the module of {name!r}: {error}") from error


class _WasmNetwork:
    """A module's memory laid out behind its own data: arena, state, ports, pointer tables."""

    def __init__(self, store: "wasmtime.Store", instance: "wasmtime.Instance", name: str,
                 rows: Rows) -> None:
        self._store, self._exports, self._name = store, instance.exports(store), name
        self._memory = cast("wasmtime.Memory", self._exports["memory"])
        self._free = self._global("__heap_base")
        self._arena = self._take(self._size("arena_bytes"))
        self._state = self._take(self._size("state_bytes"))
        self._in = [self._take(nbytes) for nbytes in rows.in_bytes]
        self._out = [self._take(nbytes) for nbytes in rows.out_bytes]
        self._in_table = self._table(self._in)
        self._out_table = self._table(self._out)

    def run(self, rows: Rows, function: str) -> bytes:
        reset = cast("wasmtime.Func", self._exports[f"{self._name}_reset"])
        run = cast("wasmtime.Func", self._exports[f"{self._name}_{function}"])
        reset(self._store, self._state)
        answers, at = [], 0
        for _ in range(rows.count):
            for place, nbytes in zip(self._in, rows.in_bytes):
                self._memory.write(self._store, rows.data[at:at + nbytes], place)
                at += nbytes
            if run(self._store, self._in_table, self._out_table, self._state, self._arena):
                raise ToolchainError(f"{self._name}_{function} refused its memory under wasmtime")
            answers += [bytes(self._memory.read(self._store, place, place + nbytes))
                        for place, nbytes in zip(self._out, rows.out_bytes)]
        end = self._state + self._size("state_bytes")
        return b"".join([*answers, bytes(self._memory.read(self._store, self._state, end))])

    def _size(self, symbol: str) -> int:
        """An exported constant: the export is its address."""
        place = self._global(f"{self._name}_{symbol}")
        raw = bytes(self._memory.read(self._store, place, place + 4))
        return int(struct.unpack("<I", raw)[0])

    def _global(self, symbol: str) -> int:
        return int(cast("wasmtime.Global", self._exports[symbol]).value(self._store))

    def _take(self, nbytes: int) -> int:
        """An aligned piece of memory that nothing else uses."""
        place = -(-self._free // ALIGNMENT) * ALIGNMENT
        self._free = place + max(nbytes, 1)
        missing = self._free - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // PAGE_BYTES))
        return place

    def _table(self, places: Sequence[int]) -> int:
        table = self._take(4 * len(places))
        self._memory.write(self._store, struct.pack(f"<{len(places)}I", *places), table)
        return table
