"""A library that would run code while it is loaded is refused, and none of it has run."""

import gc
import hashlib
import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import GanglionError, TargetError, TrustError
from ganglion.runtime.elf import exports
from ganglion.toolchain.targets import ELF

MARK = "RAN"
BODY = """
#include <fcntl.h>
#include <unistd.h>
{more}
"""
HOSTILE = {
    "constructor": "__attribute__((constructor)) static void c(void) "
                   "{{ open(\"{path}\", O_CREAT | O_WRONLY, 0600); }}",
    "destructor": "__attribute__((destructor)) static void d(void) "
                  "{{ open(\"{path}\", O_CREAT | O_WRONLY, 0600); }}",
    "ifunc": "static int one(void) {{ return 1; }} static void *pick(void) "
             "{{ open(\"{path}\", O_CREAT | O_WRONLY, 0600); return (void *)one; }} "
             "int chosen(void) __attribute__((ifunc(\"pick\")));",
    "another name": "int further(void) {{ return 1; }}",
    "a variable of each thread": "__thread int own; int *line_own(void) {{ return &own; }}",
    "another library": "double cos(double); static double c(double x) {{ return cos(x); }} "
                       "double (*line_c)(double) = c;",
    "an executable stack": "",
}
OPTIONS = {"another library": ["-Wl,--no-as-needed", "-lm"],
           "an executable stack": ["-Wl,-z,execstack"]}


@pytest.mark.gcc
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_swapped_library_with_a_fitting_digest_runs_nothing(tmp_path: Path, kind: str) -> None:
    built = gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(2)], name="line"), isas=("scalar",))
    folder = built.save(tmp_path / "build")
    source = tmp_path / "hostile.c"
    ran = tmp_path / MARK
    source.write_text(BODY.format(more=HOSTILE[kind].format(path=ran)))
    assert built.library is not None
    library = folder / built.library
    subprocess.run(["gcc", "-O1", *ELF.flags, str(source), str(folder / "line.c"), "-o",
                    str(library), *OPTIONS.get(kind, [])], check=True, cwd=folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][built.library] = hashlib.sha256(library.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrustError, match="was not loaded"):
        gg.Session(folder)
    assert not ran.exists()


@pytest.fixture(scope="module")
def library() -> bytes:
    built = gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(2)], name="line"), isas=("scalar",))
    assert built.library is not None
    return built.files[built.library]


def damaged(data: bytes) -> Iterator[bytes]:
    """Cut short, single bytes of the header and of every table at their ends and at random."""
    rng = np.random.default_rng(0)
    yield from (data[:n] for n in (0, 4, 63, 64, 200, len(data) // 2, len(data) - 1))
    for place in (*range(64 + 10 * 56), *rng.integers(0, len(data), 1500).tolist()):
        for value in (0, 0xff, data[place] ^ 1, data[place] ^ 0x80):
            yield data[:place] + bytes([value]) + data[place + 1:]


def test_a_damaged_library_is_refused_or_exports_what_lies_in_it(library: bytes) -> None:
    refused = 0
    for data in damaged(library):
        try:
            found = exports(data, "damaged")
        except (TrustError, TargetError):
            refused += 1
        else:
            assert all(0 < place < len(library) for place in found.functions.values())
    assert refused > 500


@pytest.mark.parametrize(("tag", "what"), [
    (22, "changes its own code"), (12, "a constructor"), (1, "another library"),
    (0x6ffffff0, "asks the loader for")])
def test_a_library_whose_table_asks_for_more_is_refused(library: bytes, tag: int, what: str
                                                        ) -> None:
    header = struct.unpack_from("<16xHHIQQQIHHHHHH", library)
    segments = [struct.unpack_from("<IIQQQQQQ", library, header[4] + k * 56)
                for k in range(header[9])]
    dynamic = next(s for s in segments if s[0] == 2)
    entries = range(dynamic[2], dynamic[2] + dynamic[5], 16)
    flags = next(at for at in entries if struct.unpack_from("<q", library, at)[0] == 0x6ffffffb)
    data = bytearray(library)
    struct.pack_into("<q", data, flags, tag)
    with pytest.raises(TrustError, match=what):
        exports(bytes(data), "net.so")


def test_sessions_that_were_dropped_leave_nothing_behind(tmp_path: Path) -> None:
    built = gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(2)], name="line"), isas=("scalar",))
    folder = built.save(tmp_path / "build")

    def held() -> tuple[int, int]:
        gc.collect()
        return (sum("line" in m for m in Path("/proc/self/maps").read_text().splitlines()),
                len(list(Path("/proc/self/fd").iterdir())))

    for _ in range(3):
        gg.Session(folder).run(np.ones((1, 4), np.float32))
    before = held()
    for _ in range(30):
        gg.Session(folder).run(np.ones((1, 4), np.float32))
    assert held() == before


def test_arrays_that_cannot_be_meant_are_refused() -> None:
    session = gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(2)]), isas=("scalar",)).session()
    for odd in (np.ma.masked_array(np.ones((1, 4), np.float32), [[1, 0, 0, 0]]),
                np.broadcast_to(np.float32(1), (10**12, 4))):
        with pytest.raises(GanglionError):
            session.run(odd)
