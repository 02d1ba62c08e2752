"""C text → machine code, the same bytes every time.

The default compiler is zig (clang with every target's headers), from PyPI. Every compile runs in a
fresh folder with relative paths, so that neither a path nor a date reaches the output, and any
number may run side by side (`zig_cache`).
"""

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from ganglion.errors import ToolchainError
from ganglion.scratch import scratch_folder
from ganglion.toolchain import zig_cache
from ganglion.toolchain.targets import WASM, Target

COMMON_FLAGS = ("-std=c11", "-O2", "-g0", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off",
                "-fno-strict-aliasing", "-fno-math-errno", "-fno-stack-protector")
"""Without contraction a product is rounded before it is added, on every target alike; a stack
protector would call into a C library."""

STUBS = "libc-stub"
STUB_HEADERS = {
    "string.h": """\
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
""",
    "stdlib.h": """\
#include <stddef.h>
void free(void *block);
int posix_memalign(void **block, size_t alignment, size_t bytes);
""",
}
"""Searched after the compiler's own headers: a bare device has no C library, yet the generated C
names two of its functions (and clang's vector headers two others, which nothing calls)."""

RACE = "failed to rename compilation results"
"""What zig says where two of its processes put the same library into the cache at once."""
NO_ROOM = ("NoSpaceLeft", "No space left", "DiskQuota", "quota exceeded", "FileTooBig",
           "File too large", "File size limit")
"""How compilers say that a file could not be written."""

SHOWN_CHARACTERS = 20_000
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Compiled:
    """What a compiler made. `library`: the file of `files` to load or link, None for sources only.

    `compiler`: name and version. `command`: as run, in a folder holding the sources.
    """

    files: Mapping[str, bytes]
    library: str | None
    compiler: str
    command: tuple[str, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """The options of the command, for the manifest."""
        return tuple(word for word in self.command
                     if word.startswith("-") and word not in ("-m", "-idirafter", "-o"))


def compile_sources(files: Mapping[str, str], target: Target, *, name: str,
                    cc: str | None = None, timeout: float = TIMEOUT_SECONDS,
                    functions: Sequence[str] = ("run",)) -> Compiled:
    """Compile the `.c` files among `files` (name → text) into one file for `target`.

    `name`: the network's C name, which every exported symbol starts with; the result is `name` plus
    the target's suffix. `cc`: another compiler's command line ("gcc", "arm-none-eabi-gcc
    -mcpu=cortex-m4 -mfloat-abi=hard") that takes gcc's options. `timeout`: seconds. `functions`:
    what a WebAssembly module exports, without the name in front.
    Raises ToolchainError with the command and the compiler's output when it fails.
    """
    if target.kind.name == "sources":
        return Compiled({}, None, "none", ())
    library = name + target.kind.suffix
    link = list(target.kind.flags)
    if target.kind is WASM:
        exports = ("arena_bytes", "state_bytes", "description", "reset", *functions)
        link += [f"-Wl,--export={name}_{symbol}" for symbol in exports]
    command = [*_translation(files, target, cc), *link, "-o", library]
    made = build({**files, **stubs()}, [command], library, timeout=timeout)
    return Compiled({library: made}, library, compiler_version(cc), tuple(command))


def stack_frames(files: Mapping[str, str], target: Target, *,
                 timeout: float = TIMEOUT_SECONDS) -> dict[str, int]:
    """Bytes of stack that each function of the generated sources takes by itself, as zig compiles
    them for `target`; inlined functions count in those that call them.

    Raises ToolchainError as `compile_sources`.
    """
    record = "frames.yaml"
    command = [*_translation(files, target, None), "-c", "-o", "frames.o",
               f"-foptimization-record-file={record}",
               "-foptimization-record-passes=prologepilog"]
    text = build({**files, **stubs()}, [command], record, timeout=timeout).decode()
    return {name: int(nbytes) for name, nbytes in re.findall(
        r"^Name: +StackSize\n(?:DebugLoc:.*\n)?Function: +(\S+)\nArgs:\n.*NumStackBytes: +'(\d+)'",
        text, re.MULTILINE)}


def _translation(files: Mapping[str, str], target: Target, cc: str | None) -> list[str]:
    """The command up to what comes out: compiler, machine, flags, sources."""
    sources = sorted(file for file in files if file.endswith(".c"))
    return [*compiler_command(cc, target), *COMMON_FLAGS, *target.machine_flags, *target.flags,
            "-idirafter", STUBS, *sources]


def stubs() -> dict[str, str]:
    """The C library's headers for a machine without one, to be searched by -idirafter `STUBS`."""
    return {f"{STUBS}/{file}": text for file, text in STUB_HEADERS.items()}


def linking(command: Sequence[str]) -> list[str]:
    """The same compiler's words for what it compiled: without a processor, since zig makes the C
    library of a program anew for each."""
    return [word for word in command if not word.startswith("-mcpu")]


def build(files: Mapping[str, str], commands: Sequence[Sequence[str]], output: str, *,
          timeout: float = TIMEOUT_SECONDS) -> bytes:
    """Run a compiler, once for each command, in a fresh folder holding `files`; the bytes of the
    file `output`, which the last one makes.

    Raises ToolchainError, with the command and what it printed, when it fails, and where there is
    no folder to do it in."""
    with working_folder("cc") as here:
        for file, text in files.items():
            (here / file).parent.mkdir(exist_ok=True)
            (here / file).write_text(text, encoding="utf-8", newline="\n")
        for command in commands:
            _compile(command, here, timeout)
        if not (here / output).exists():
            raise ToolchainError(f"the compiler ended well but left no {output}: does it take "
                                 f"gcc's options?\ncommand: {shlex.join(commands[-1])}")
        return (here / output).read_bytes()


@contextlib.contextmanager
def working_folder(purpose: str) -> Iterator[Path]:
    """A folder of a moment. Raises ToolchainError where it, or a file in it, can't be written."""
    try:
        with scratch_folder(purpose) as folder:
            yield folder
    except OSError as error:
        where = error.filename or "the temporary folder"
        raise ToolchainError(f"cannot write {where}: {error.strerror or error}\n"
                             f"{_make_room()}") from error


def _make_room() -> str:
    """What to do where files of a compile find no room."""
    return ("free space in the temporary folder or set TMPDIR to another; raise the limit of a "
            "file's size (ulimit -f) where there is one")


def _compile(command: Sequence[str], here: Path, timeout: float) -> None:
    """Run a compiler in the folder that holds the sources."""
    env = _environment()
    if "ziglang" not in command:
        run_process(command, cwd=here, env=env, timeout=timeout)
        return
    shared = zig_cache.cache_folder(env, here / "zig-global")
    env |= {"ZIG_LOCAL_CACHE_DIR": str(here / "zig"), "ZIG_GLOBAL_CACHE_DIR": str(shared)}
    try:
        with zig_cache.filling(shared, command, compiler_version(None)):
            run_process(command, cwd=here, env=env, timeout=timeout)
    except ToolchainError as error:
        if RACE not in str(error):
            raise
        # Somebody else's zig fills the same cache; what it made is there by now.
        with zig_cache.alone(shared):
            run_process(command, cwd=here, env=env, timeout=timeout)


def compiler_command(cc: str | None, target: Target) -> list[str]:
    """The words that start a compile. Raises ToolchainError where the compiler is missing."""
    if cc is None:
        if importlib.util.find_spec("ziglang") is None:
            raise ToolchainError("the C compiler zig is missing: `pip install ziglang`, or name "
                                 "another compiler, for example cc='gcc'")
        # zig checks undefined behaviour by default; its traps have no place in a release.
        return [sys.executable, "-m", "ziglang", "cc", *target.zig_flags,
                "-fno-sanitize=undefined"]
    words = _words(cc)
    if not words or shutil.which(words[0]) is None:
        raise ToolchainError(f"no compiler {(words or [cc])[0]!r} on the PATH: install it, "
                             f"give its full path, or leave cc out to use zig")
    told = any(word.startswith(("-march", "-mcpu")) for word in words)
    return words if told else [*words, *target.architecture_flags]


def _words(cc: str) -> list[str]:
    """A command line's words. Raises ToolchainError where it is none."""
    try:
        return shlex.split(cc)
    except ValueError as error:
        raise ToolchainError(f"the compiler's command line {cc!r} can't be read ({error}): close "
                             f"every quotation mark") from error


@cache
def compiler_version(cc: str | None) -> str:
    """The compiler's name and version, for the manifest: "zig 0.15.1", "gcc (Debian) 12.2.0"."""
    if cc is None:
        return f"zig {metadata.version('ziglang')}"
    command = [_words(cc)[0], "--version"]
    printed = run_process(command, cwd=Path.cwd(), timeout=60.0).decode(errors="replace")
    return printed.splitlines()[0].strip() if printed.strip() else cc


def run_process(command: Sequence[str], *, cwd: Path, timeout: float, given: bytes = b"",
                env: Mapping[str, str] | None = None) -> bytes:
    """Run a command to its end; its standard output.

    `given`: its standard input. Raises ToolchainError when it can't start, fails, or takes longer
    than `timeout` seconds (then it and its children are killed).
    """
    try:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   start_new_session=True)
    except OSError as error:
        raise ToolchainError(f"cannot start {command[0]}: {error.strerror}") from error
    with process:
        try:
            output, complaint = process.communicate(given, timeout=timeout)
        except BaseException as error:
            _kill(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ToolchainError(f"took longer than {timeout:g} s and was stopped\n"
                                     f"command: {shlex.join(command)}") from error
            raise
    if process.returncode:
        printed = (complaint + output[:SHOWN_CHARACTERS]).decode(errors="replace")
        raise ToolchainError(_failure(command, process.returncode, printed))
    return output


def _failure(command: Sequence[str], code: int, printed: str) -> str:
    how = f"failed with exit code {code}" if code > 0 else f"was killed by signal {-code}"
    left_out = len(printed) - SHOWN_CHARACTERS
    tail = f"\n[{left_out} more characters]" if left_out > 0 else ""
    if any(phrase in printed for phrase in NO_ROOM):
        tail += f"\n{_make_room()}"
    return (f"{Path(command[0]).name} {how}\ncommand: {shlex.join(command)}\n"
            f"{printed[:SHOWN_CHARACTERS].rstrip()}{tail}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started (zig starts clang's parts as its own children)."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _environment() -> dict[str, str]:
    """The caller's environment, less what would change the output."""
    changing = ("CPATH", "C_INCLUDE_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH", "LIBRARY_PATH")
    env = {key: value for key, value in os.environ.items() if key not in changing}
    return env | {"SOURCE_DATE_EPOCH": "0", "LC_ALL": "C"}
