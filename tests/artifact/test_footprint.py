"""What a build takes of a device is measured on what was compiled."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact import Artifact
from ganglion.artifact.footprint import footprint
from ganglion.toolchain.compilers import stack_frames
from ganglion.toolchain.sections import sections
from ganglion.toolchain.targets import target


@pytest.fixture(scope="module")
def tiny() -> Artifact:
    """The network 8-10-1 that learns on a microcontroller."""
    model = L.Sequential([L.Input((8,)), L.Dense(10, activation="relu"),
                          L.Dense(1, activation="sigmoid")], name="tiny")
    return gg.compile_training(model, "cortex-m4", loss="binary_crossentropy", optimizer="sgd",
                               batch_size=1)


def test_a_small_network_learns_within_a_kilobyte_and_a_half(tiny: Artifact) -> None:
    found = footprint(tiny)
    assert found.ram_bytes == found.arena_bytes + found.state_bytes + found.stack_bytes
    assert found.state_bytes >= 4 * (8 * 10 + 10 + 10 + 1)
    assert 0 < found.stack_bytes < 1024
    assert found.ram_bytes < 1536
    assert found.flash_bytes is not None
    assert found.flash_bytes < 16 * 1024


def test_every_function_has_a_frame(tiny: Artifact) -> None:
    sources = {n: d.decode() for n, d in tiny.files.items() if n.endswith((".c", ".h"))}
    frames = stack_frames(sources, target("cortex-m4"))
    exported = {f"{tiny.name}_{f}" for f in ("reset", "run", "evaluate", "predict")}
    assert exported <= set(frames)
    assert any(name.startswith("k0_") for name in frames)


@pytest.mark.skipif(shutil.which("size") is None, reason="binutils are not installed")
def test_sections_add_up_as_binutils_count_them(tiny: Artifact, tmp_path: Path) -> None:
    here = gg.compile(L.Sequential([L.Input((4,)), L.Dense(3)]), check=False)
    for artifact in (tiny, here):
        data = artifact.files[str(artifact.library)]
        (tmp_path / "file").write_bytes(data)
        printed = subprocess.run(["size", str(tmp_path / "file")], capture_output=True, text=True,
                                 check=True).stdout
        text, variables, zeros = (int(word) for word in printed.splitlines()[1].split()[:3])
        found = sections(data)
        assert found is not None
        assert found.code + found.constants == text
        assert (found.initialized, found.variables) == (variables, variables + zeros)


def test_what_is_no_elf_file_has_no_sections(tiny: Artifact) -> None:
    data = tiny.files[str(tiny.library)]
    for wrong in (b"", b"\0asm" + bytes(100), data[:63], data[:-200],
                  data[:46] + struct.pack("<HH", 1, 60000) + data[50:]):
        assert sections(wrong) is None
