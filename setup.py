"""The one compiled part: `ganglion.runtime._session`, which calls generated code quickly.

Everything else about the package stands in pyproject.toml. Where Python's own headers are missing
the extension is left out, and `ganglion.runtime` calls through ctypes instead; where there is no C
compiler, zig from PyPI serves.
"""

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ZIG = [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]


class BuildExtension(build_ext):
    """`build_ext` that takes zig where the machine has no compiler."""

    def build_extensions(self) -> None:
        named = (sysconfig.get_config_var("CC") or "cc").split()[0]
        has_zig = importlib.util.find_spec("ziglang") is not None
        if sys.platform != "win32" and shutil.which(named) is None and has_zig:
            sys.stdout.write(f"ganglion: no {named} here, building the extension with zig\n")
            compile_words = [*ZIG, "-O2", "-fPIC", "-fwrapv", "-fno-sanitize=undefined", "-DNDEBUG"]
            link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" \
                else ["-shared"]
            self.compiler.set_executables(compiler=compile_words, compiler_so=compile_words,
                                          linker_so=[*ZIG, *link])
        super().build_extensions()


def extensions() -> list[Extension]:
    """The extension, or nothing where it can't be built."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        sys.stdout.write(f"ganglion: {header} is missing, so calls will go through ctypes (slower);"
                         f" install your system's python3-dev and install again for the fast ones"
                         f"\n")
        return []
    import numpy
    from Cython.Build import cythonize

    session = Extension("ganglion.runtime._session", ["src/ganglion/runtime/_session.pyx"],
                        include_dirs=[numpy.get_include(), "src/ganglion/runtime"],
                        depends=["src/ganglion/runtime/_pool.h"], optional=True)
    return list(cythonize([session], build_dir="build/cython", language_level=3))


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtension})
