"""A library that would run code while it is loaded is refused, and none of it has run."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import GanglionError, TrustError
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
}


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
                    str(library)], check=True, cwd=folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][built.library] = hashlib.sha256(library.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrustError, match="was not loaded"):
        gg.Session(folder)
    assert not ran.exists()


def test_arrays_that_cannot_be_meant_are_refused() -> None:
    session = gg.compile(gg.Sequential([gg.Input((4,)), L.Dense(2)]), isas=("scalar",)).session()
    for odd in (np.ma.masked_array(np.ones((1, 4), np.float32), [[1, 0, 0, 0]]),
                np.broadcast_to(np.float32(1), (10**12, 4))):
        with pytest.raises(GanglionError):
            session.run(odd)
