"""Laws of the target table and of the processor's own description."""

import pytest

from ganglion import cpu
from ganglion.errors import TargetError
from ganglion.kernels.isa import ISAS
from ganglion.toolchain import host, target, targets
from ganglion.toolchain.targets import ISA_FLAGS

NAMES = ["host", "x86-64-v3", "x86-64-v4", "raspberrypi4", "raspberrypi5", "riscv64", "wasm32",
         "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55",
         "generic"]


def test_every_target_is_listed_under_its_name():
    assert list(targets()) == NAMES
    assert all(target(name).name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_target_has_known_sets_and_ends_with_scalar(name):
    row = target(name)
    assert set(row.isas) <= set(ISAS)
    assert row.isas[-1] == "scalar"
    assert row.description


def test_every_instruction_set_of_the_kernels_has_its_flags():
    assert set(ISA_FLAGS) == set(ISAS)


def test_an_unknown_target_is_refused_with_the_nearest_name():
    with pytest.raises(TargetError, match=r"did you mean 'raspberrypi4'.*cortex-m4"):
        target("raspberrypi44")


def test_narrowing_keeps_the_order_and_scalar():
    row = target("x86-64-v3")
    assert row.with_isas(["scalar"]).isas == ("scalar",)
    assert row.with_isas(["avx2"]).isas == ("avx2", "scalar")
    assert row.with_isas([]).machine_flags == ()
    with pytest.raises(TargetError, match=r"no instruction set neon; it has avx2, scalar"):
        row.with_isas(["neon"])


def test_host_has_the_sets_of_this_processor():
    assert host().isas == cpu.isas()


@pytest.mark.parametrize(("flags", "expected"), [
    ("fpu sse2", ()), ("avx2", ()), ("avx2 fma", ("avx2",)),
    ("avx2 fma avx512f avx512bw avx512dq avx512vl", ("avx512", "avx2")),
    ("avx2 fma avx512f avx512bw avx512dq avx512vl avx512_vnni", ("vnni", "avx512", "avx2")),
    ("avx2 fma avx512f avx512_vnni", ("avx2",)), ("avx2 fma avx_vnni", ("avxvnni", "avx2")),
    ("avx_vnni fma", ()),
])
def test_processor_sets_follow_from_the_features(flags, expected, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n\nflags : other\n")
    features = cpu.linux_features(tmp_path / "cpuinfo")
    assert tuple(isa for isa, needs in cpu.X86_NEEDS.items() if needs <= features) == expected


@pytest.mark.parametrize(("features", "expected"), [
    ("fp asimd crc32", ("neon",)), ("fp asimd asimddp", ("dotprod", "neon"))])
def test_arm_processors_spell_their_features_otherwise(features, expected, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nFeatures\t: {features}\n")
    found = cpu.linux_features(tmp_path / "cpuinfo")
    assert tuple(isa for isa, needs in cpu.ARM_NEEDS.items() if needs <= found) == expected


def test_a_machine_that_says_nothing_is_scalar(tmp_path):
    assert cpu.linux_features(tmp_path / "missing") == frozenset()


@pytest.mark.skipif(cpu.machine() != "x86_64", reason="the features of x86-64")
def test_numpy_and_the_kernel_agree_on_the_features():
    known = set().union(*cpu.X86_NEEDS.values())
    kernel = cpu.linux_features(cpu.Path("/proc/cpuinfo"))
    assert cpu.numpy_features() & known == (kernel & known) - {"avx_vnni"}
