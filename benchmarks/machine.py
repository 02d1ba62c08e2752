"""The machine: its name, its load, and what it can do at best.

The peaks are measured by generated C in the vocabulary that the kernels themselves are written in,
so they are what these instruction sets reach here. Matrix units that no kernel uses (AMX) are not
counted.
"""

import ctypes
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ganglion.kernels.isa import ISAS, Isa
from ganglion.kernels.source import prelude
from ganglion.toolchain.compilers import compile_sources
from ganglion.toolchain.targets import host

TRIALS = 60
TRIAL_NS = 200_000
ACCUMULATORS = 12


def name() -> str:
    """The processor's name, with what tells it from others of that name, and the system."""
    fields: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    words = [fields.get("model name") or platform.processor() or platform.machine()]
    if "model" in fields:
        words.append(f"(family {fields.get('cpu family')}, model {fields['model']}, "
                     f"stepping {fields.get('stepping')})")
    return " ".join([*words, platform.system()])


def load() -> float:
    """Mean number of runnable processes in the last minute; what `uptime` shows first."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


@dataclass(frozen=True)
class Peaks:
    """What one core reaches: multiply-adds a second, and bytes read a second by block size."""

    float_macs: float
    int8_macs: float
    read: Callable[[int], float]
    isas: tuple[str, ...]

    def best(self, other: "Peaks") -> "Peaks":
        """The higher of two measurements: whatever else ran can only have lowered them."""
        return Peaks(max(self.float_macs, other.float_macs), max(self.int8_macs, other.int8_macs),
                     lambda size: max(self.read(size), other.read(size)), self.isas)

    def bound_us(self, macs: int, weight_bytes: int, integer: bool) -> float:
        """The least time for so many multiply-adds over so many bytes of weights, in µs."""
        peak = self.int8_macs if integer else self.float_macs
        reading = weight_bytes / self.read(weight_bytes) if weight_bytes else 0.0
        return max(macs / peak, reading) * 1e6


def measure() -> Peaks:
    """Compiles and runs the three loops."""
    target = host()
    wide = ISAS[target.isas[0]]
    source, dots = _source(wide, target.isas)
    library = open_library({"peaks.c": source}, "peaks")
    flt, dot, read = (library[f"peak_{kind}"] for kind in ("float", "dot", "read"))
    for function in (flt, dot):
        function.argtypes, function.restype = [ctypes.c_long], ctypes.c_float
    read.argtypes, read.restype = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long], ctypes.c_int

    @cache
    def bandwidth(nbytes: int) -> float:
        lines = max(1, nbytes // (8 * 4 * wide.lanes))
        block = np.ones(lines * 8 * wide.lanes + 16, np.int32)
        at = block.ctypes.data + (-block.ctypes.data) % 64
        return lines * 8 * 4 * wide.lanes / _seconds(lambda n: read(at, lines, n))

    return Peaks(
        float_macs=ACCUMULATORS * wide.lanes * 1000 / _seconds(lambda n: flt(1000 * n)),
        int8_macs=ACCUMULATORS * dots * 1000 / _seconds(lambda n: dot(1000 * n)),
        read=bandwidth, isas=target.isas)


def open_library(files: Mapping[str, str], name: str) -> ctypes.CDLL:
    """C sources compiled for this machine and loaded, under a path that never was before."""
    made = compile_sources(files, host(), name=name)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / f"{name}.so"
        path.write_bytes(made.files[str(made.library)])
        return ctypes.CDLL(str(path))


def _seconds(run: Callable[[int], object]) -> float:
    """The least time of one of n repetitions, over many trials."""
    count, clock = 1, time.perf_counter_ns
    while True:
        start = clock()
        run(count)
        if clock() - start > TRIAL_NS or count > 1 << 30:
            break
        count *= 2
    best = float("inf")
    for _ in range(TRIALS):
        start = clock()
        run(count)
        best = min(best, (clock() - start) / count)
    return best / 1e9


def _source(wide: Isa, isas: tuple[str, ...]) -> tuple[str, int]:
    """C with the three loops, and how many products one dot instruction adds."""
    lanes, numbers = wide.lanes, range(ACCUMULATORS)
    dot, narrow, dots = _dot(wide, isas)
    floats = "".join(f"    v{lanes}f a{i} = v{lanes}f_set({i}.5f);\n" for i in numbers)
    steps = "".join(f"        a{i} = v{lanes}f_fma(a{i}, b, c);\n" for i in numbers)
    ints = "".join(f"    v{narrow}i a{i} = v{narrow}i_set({i});\n" for i in numbers)
    adds = "".join(f"        {dot.format(a=f'a{i}')}\n" for i in numbers)
    sums = "".join(f"    a0 = v{lanes}f_add(a0, a{i});\n" for i in numbers[1:])
    all_ints = "".join(f"    a0 = v{narrow}i_add(a0, a{i});\n" for i in numbers[1:])
    reads = "".join(f"            r{i} = v{lanes}i_or(r{i}, v{lanes}i_load(p + {i * lanes}));\n"
                    for i in range(8))
    starts = "".join(f"    v{lanes}i r{i} = v{lanes}i_set(0);\n" for i in range(8))
    ends = "".join(f"    r0 = v{lanes}i_or(r0, r{i});\n" for i in range(1, 8))
    loops = f"""float peak_float(long n);
float peak_dot(long n);
int peak_read(const int32_t *start, long n, long times);
float peak_float(long n)
{{
    v{lanes}f b = v{lanes}f_set(0.999f), c = v{lanes}f_set(0.001f);
{floats}    for (long k = 0; k < n; k++) {{
{steps}    }}
{sums}    float out[{lanes}];
    v{lanes}f_store(out, a0);
    return out[0];
}}
float peak_dot(long n)
{{
    static const uint8_t bytes[64] = {{1, 2, 3, 4}};
    (void)bytes;
{_operands(wide, isas)}{ints}    for (long k = 0; k < n; k++) {{
{adds}    }}
{all_ints}    int32_t out[{narrow}];
    v{narrow}i_store(out, a0);
    return (float)out[0];
}}
int peak_read(const int32_t *start, long n, long times)
{{
{starts}    for (long t = 0; t < times; t++) {{
        const int32_t *p = start;
        __asm__ volatile("" : "+r"(p) : : "memory");
        for (long k = 0; k < n; k++, p += {8 * lanes}) {{
{reads}        }}
    }}
{ends}    int32_t out[{lanes}];
    v{lanes}i_store(out, r0);
    return out[0];
}}
"""
    return prelude([ISAS[name] for name in isas], loops) + loops, dots


def _lanes_of_quads(isas: tuple[str, ...]) -> int:
    """Lanes of the widest set that adds four products at once, 0 where there is none."""
    return max((ISAS[i].lanes for i in isas if i in ("vnni", "avxvnni", "dotprod")), default=0)


def _dot(wide: Isa, isas: tuple[str, ...]) -> tuple[str, int, int]:
    """The statement that adds products to {a}, its lanes, and its products."""
    quads = _lanes_of_quads(isas)
    if quads:
        return f"{{a}} = v{quads}i_dot4({{a}}, b, b);", quads, 4 * quads
    narrow = 8 if "avx2" in isas else wide.lanes
    if narrow == 1:
        return "{a} = {a} * b + 1;", 1, 1
    return f"{{a}} = v{narrow}i_dot2({{a}}, b, b);", narrow, 2 * narrow


def _operands(wide: Isa, isas: tuple[str, ...]) -> str:
    quads = _lanes_of_quads(isas)
    if quads:
        return f"    v{quads}q b = v{quads}q_load((const int8_t *)bytes);\n"
    narrow = 8 if "avx2" in isas else wide.lanes
    if narrow == 1:
        return "    int32_t b = (int32_t)n;\n"
    return f"    v{narrow}h b;\n    memcpy(&b, bytes, sizeof b);\n"
