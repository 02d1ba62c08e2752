"""The name of a network in C, which its file and every function of it begin with."""

import hashlib
import re

from ganglion.errors import ModelError

LONGEST = 48
"""Characters: with what is put behind it, the name of a function keeps below the 63 that C11
5.2.4.1 promises to tell apart, and that of a file below what any file system takes."""

UNNAMED = re.compile(
    "(|sequential|functional|model|network|graph|main|main_graph|torch_jit|torch-jit-export|"
    r"tf2onnx|onnx_graph)(_\d+)?(_training)?")
"""Names that tools give where the user gave none: Keras's and ours, with a number behind; those of
PyTorch's exporters, of tf2onnx, and of the graphs in .tflite files."""

HEADERS = (
    "aio alloca assert complex cpio ctype dirent dlfcn endian err errno error fcntl features fenv "
    "float fmtmsg fnmatch ftw getopt glob grp iconv inttypes iso646 langinfo libgen limits link "
    "locale malloc math memory monetary mqueue ndbm netdb nl_types poll process pthread pwd regex "
    "sched search semaphore setjmp signal spawn stdalign stdarg stdatomic stdbool stddef stdint "
    "stdio stdlib stdnoreturn string strings stropts syslog tar termios tgmath threads time trace "
    "uchar ulimit unistd utime utmpx values wchar wctype windows wordexp intrin immintrin arm_neon "
    "arm_mve arm_acle wasm_simd128")
"""Of C11 7.1.2, of POSIX and of compilers: NAME.h could be found in their place."""

DEVICES = "con prn aux nul " + " ".join(f"com{i} lpt{i}" for i in range(10))
"""Files that Windows keeps for itself, whatever stands behind a dot."""

TAKEN = frozenset(f"{HEADERS} {DEVICES}".split())
"""Names, in small letters, that a network does not get as they are."""

INSIDE = re.compile(r"[kv]\d+[a-z]?|gg")
"""What names inside of a generated file begin with: k0, v8f."""

FUNCTIONS = frozenset({"run", "run_with", "reset", "description", "arena_bytes", "state_bytes",
                       "worker_bytes"})
"""What every network has behind its name."""


def c_name(name: str) -> str:
    """A C identifier made of a network's name: letters, digits and single underscores, a letter
    first, at most `LONGEST`; no header's name and no device's.

    A name that is all this stays as it is. Any other one gets a part of its SHA-256, so that two
    names stay two names, on every machine the same.

    >>> c_name("my_net")
    'my_net'
    >>> c_name("my net-2")
    'my_net_2_212ba450'
    """
    clean = _clean(name)
    taken = clean.lower() in TAKEN or INSIDE.fullmatch(clean.lower())
    if clean == name and len(clean) <= LONGEST and not taken:
        return clean
    return _marked(clean, hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest())


def own_name(name: str, digest: str) -> str:
    """The C name of a network whose graph is called `name`: where that is none that a user gave,
    with a part of the network's digest, so that two such networks can be linked together.

    >>> own_name("sequential_3", "0123456789abcdef")
    'sequential_3_01234567'
    """
    if UNNAMED.fullmatch(name):
        return _marked(_clean(name or "network"), digest)
    return c_name(name)


def require_function_name(name: str) -> None:
    """Raises ModelError for a further function's name that C, or the network itself, has taken."""
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) or len(name) > LONGEST or name in FUNCTIONS:
        raise ModelError(f"a function cannot be called {name!r}: expected a letter, then letters, "
                         f"digits and underscores, at most {LONGEST}, and none of "
                         f"{', '.join(sorted(FUNCTIONS))}")


def _clean(name: str) -> str:
    clean = re.sub("[^A-Za-z0-9]+", "_", name).strip("_")
    return clean if clean[:1].isalpha() else f"n_{clean}".strip("_")


def _marked(name: str, digest: str) -> str:
    return f"{name[:LONGEST - 9].rstrip('_')}_{digest[:8]}"
