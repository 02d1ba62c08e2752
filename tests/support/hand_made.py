"""Networks written by hand to the C contract, so that the runtime and the toolchain can be tried
without a generator."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ganglion.toolchain import Compiled, Target, compile_sources, host


@dataclass(frozen=True)
class HandMade:
    """`body`: statements of NAME_run, which sees `in`, `out`, `state`, `arena`; `reset`: those of
    NAME_reset."""

    name: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    body: str
    state: tuple[dict[str, Any], ...] = ()
    arena_bytes: int = 0
    state_bytes: int = 0
    reset: str = ""
    digest: str = "0123abcd"

    @property
    def description(self) -> dict[str, Any]:
        return {"name": self.name, "version": 1, "digest": self.digest, "inputs": self.inputs,
                "outputs": self.outputs, "state": list(self.state)}

    @property
    def sources(self) -> dict[str, str]:
        n = self.name
        text = json.dumps(json.dumps(self.description))
        header = (f"#ifndef {n}_H\n#define {n}_H\n#include <stddef.h>\n"
                  f"extern const size_t {n}_arena_bytes;\nextern const size_t {n}_state_bytes;\n"
                  f"extern const char {n}_description[];\nvoid {n}_reset(void *state);\n"
                  f"int {n}_run(const void *const *inputs, void *const *outputs, void *state, "
                  f"void *arena);\n#endif\n")
        code = (f'#include <stdint.h>\n#include <string.h>\n#include "{n}.h"\n'
                f"const size_t {n}_arena_bytes = {self.arena_bytes};\n"
                f"const size_t {n}_state_bytes = {self.state_bytes};\n"
                f"const char {n}_description[] = {text};\n"
                f"void {n}_reset(void *state) {{ (void)state; {self.reset} }}\n"
                f"int {n}_run(const void *const *in, void *const *out, void *state, void *arena)\n"
                f"{{ (void)in; (void)out;\n"
                f"  if ((uintptr_t)arena % 64 || (uintptr_t)state % 64) return 1;\n"
                f"  {self.body}\n  return 0; }}\n")
        return {f"{n}.c": code, f"{n}.h": header}


def artefact(net: HandMade, target: Target | None = None, cc: str | None = None,
             **changes: Any) -> dict[str, bytes]:
    """The files of a built network, manifest included; `changes` overwrite the manifest's."""
    target = target or host()
    compiled: Compiled = compile_sources(net.sources, target, name=net.name, cc=cc)
    files = {name: text.encode() for name, text in net.sources.items()} | dict(compiled.files)
    manifest = {"format": 1, "name": net.name, "target": target.name, "isas": ["scalar"],
                "library": compiled.library, "sources": sorted(net.sources),
                "compiler": compiled.compiler, "flags": list(compiled.flags),
                "arena_bytes": net.arena_bytes, "state_bytes": net.state_bytes, "const_bytes": 0,
                "macs": 0, "digest": net.digest, "check": {},
                "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
    return files | {"manifest.json": json.dumps(manifest | changes).encode()}


@cache
def built(name: str) -> dict[str, bytes]:
    """The artefact of a network below, by the name of its constant, for this machine."""
    return artefact(globals()[name])


def write(files: dict[str, bytes], folder: Path) -> Path:
    """Put an artefact into a folder."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


F32_1x2 = {"name": "x", "dtype": "float32", "shape": [1, 2]}
F32_1x1 = {"name": "y", "dtype": "float32", "shape": [1, 1]}

LINEAR = HandMade(
    "linear", [F32_1x2], [F32_1x1],
    "const float *x = in[0]; float *y = out[0]; y[0] = 2.0f * x[0] - 3.0f * x[1] + 0.5f;")

MIXED = HandMade(
    "mixed",
    [{"name": "image", "dtype": "int8", "shape": [1, 2, 3], "scale": 0.5, "zero_point": -3},
     {"name": "gain", "dtype": "float32", "shape": [1]},
     {"name": "label", "dtype": "int32", "shape": [1]},
     {"name": "flip", "dtype": "bool", "shape": [1]}],
    [{"name": "sum", "dtype": "float32", "shape": [1, 3]},
     {"name": "code", "dtype": "uint8", "shape": [1, 2], "scale": 0.25, "zero_point": 10}],
    """const int8_t *image = in[0]; const float gain = *(const float *)in[1];
  const int32_t label = *(const int32_t *)in[2]; const uint8_t flip = *(const uint8_t *)in[3];
  float *held = arena; float *sum = out[0]; uint8_t *code = out[1];
  for (int k = 0; k < 3; k++) held[k] = (float)(image[k] + image[3 + k]) * gain;
  for (int k = 0; k < 3; k++) sum[k] = held[flip ? 2 - k : k];
  code[0] = (uint8_t)label; code[1] = flip;""", arena_bytes=64)

PAIR = HandMade(
    "pair", [{"name": "x", "dtype": "float32", "shape": [2, 2]}],
    [{"name": "y", "dtype": "float32", "shape": [2]}],
    "const float *x = in[0]; float *y = out[0]; y[0] = x[0] + x[1]; y[1] = x[2] + x[3];")

COUNTER = HandMade(
    "counter", [F32_1x2], [F32_1x1],
    """const float *x = in[0]; float *total = state; int32_t *steps = (int32_t *)state + 16;
  total[0] += x[0]; total[1] += x[1]; steps[0] += 1;
  *(float *)out[0] = (total[0] + total[1]) * (float)steps[0];""",
    state=({"name": "total", "dtype": "float32", "shape": [2], "offset": 0},
           {"name": "steps", "dtype": "int32", "shape": [], "offset": 64}),
    state_bytes=128, reset="((float *)state)[0] = 1.0f; ((float *)state)[1] = 0.0f; "
                           "((int32_t *)state)[16] = 0;")

WOVEN = HandMade(
    "woven", [{"name": "x", "dtype": "float32", "shape": [1, 2, 3]}], [F32_1x1],
    """const float *x = in[0]; float *kept = state;
  for (int i = 0; i < 2; i++) for (int j = 0; j < 3; j++) kept[j * 2 + i] += x[i * 3 + j];
  *(float *)out[0] = kept[0];""",
    state=({"name": "kept", "dtype": "float32", "shape": [1, 2, 3], "order": [0, 2, 1],
            "offset": 0},), state_bytes=64, reset="memset(state, 0, 64);")
"""Its state lies in memory with the axes in another order than its shape says."""

SLOW = HandMade(
    "slow", [{"name": "x", "dtype": "float32", "shape": [1, 64]}],
    [{"name": "y", "dtype": "float32", "shape": [1, 64]}],
    """const float *x = in[0]; float *held = arena; float *y = out[0];
  memcpy(held, x, 256);
  for (int n = 0; n < 3000; n++)
    for (int k = 0; k < 64; k++) held[k] = held[k] * 0.999f + held[(k + 1) % 64] * 0.001f;
  memcpy(y, held, 256);""", arena_bytes=256)
