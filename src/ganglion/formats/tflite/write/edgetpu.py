"""What an Edge TPU would run of a network, operator by operator, before its compiler is asked.

Source of the rows and limits: Coral, "TensorFlow models on the Edge TPU",
https://coral.ai/docs/edgetpu/models-intro/, sections "Model requirements" and "Supported
operations", held against two copies of it. Axis, "Supported ops" of ARTPEC-7,
https://developer.axis.com/computer-vision/on-device/system-on-chip/artpec-7/supported-ops/
(Add to ResizeBilinear by name), and an earlier state of Coral's table in
https://github.com/dgist-datalab/Datalab_Intern, Edge_TPU/convert_model_for_Edge_TPU.md (Resize,
Slice, Softmax, SpaceToDepth, Split, Squeeze, StridedSlice). In neither copy, but supported by
issues 433 and 684 of google-coral/edgetpu: TRANSPOSE (compiler 16), TRANSPOSE_CONV. Unconfirmed:
RSQRT, SQUARED_DIFFERENCE, SUM, and that SPLIT leaves the batch alone.
The compiler itself may still refuse an operator for its size, or to keep precision; large RESHAPEs
and RESIZEs are such.
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganglion.errors import ToolchainError
from ganglion.formats.tflite.write.flat import FlatNetwork, Operator, Tensor

COMPILER = "edgetpu_compiler"
CODES = (np.dtype(np.int8), np.dtype(np.uint8))
SOFTMAX_ELEMENTS = 16_000
WIDE_AXES = 3
"""Only so many innermost axes may be larger than 1."""
WORD = 4
"""Channels that are averaged together."""
CACHE_BYTES = 8_000_000
"""What the Edge TPU can keep of parameters; the rest is sent for every call."""
COMPILER_SECONDS = 600


@dataclass(frozen=True)
class Verdict:
    """Whether one operator runs on an Edge TPU; `reason` tells why not. `node`: of the Model."""

    index: int
    operator: str
    node: str
    runs: bool
    reason: str


@dataclass(frozen=True)
class Seen:
    """An operator with its tensors; an absent input is left out."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    options: Mapping[str, object]


Limit = Callable[[Seen], str]
"""Why an operator does not run, "" if it does."""


def check(network: FlatNetwork) -> list[Verdict]:
    """One verdict an operator, in order.

    The compiler maps one connected part: what reads from an operator behind that part stays on the
    processor, though it could run on the Edge TPU.
    """
    on_chip: set[int] = set()
    behind: set[int] = set()
    verdicts = []
    for index, operator in enumerate(network.operators):
        reason = _reason(network, operator)
        if not reason and behind.intersection(operator.inputs):
            reason = ("reads from an operator that stays on the processor behind others that do "
                      "not; only one part of a network is mapped")
        if not reason:
            on_chip.update(operator.outputs)
        elif (on_chip | behind).intersection(operator.inputs):
            behind.update(operator.outputs)
        verdicts.append(Verdict(index, operator.name, operator.node, not reason, reason))
    return verdicts


def parameter_bytes(network: FlatNetwork) -> int:
    """Bytes of all constants."""
    return sum(t.data.nbytes for t in network.tensors if t.data is not None)


def _reason(network: FlatNetwork, operator: Operator) -> str:
    seen = Seen([network.tensors[k] for k in operator.inputs if k >= 0],
                [network.tensors[k] for k in operator.outputs],
                operator.options[1] if operator.options else {})
    if operator.name not in LIMITS:
        return "no operator of the Edge TPU"
    for tensor in (*seen.inputs, *seen.outputs):
        setting = tensor.data is not None and tensor.dtype in (np.int32, np.int64)
        if tensor.dtype not in CODES and not setting:
            return f"{tensor.name!r} is {tensor.dtype}; only 8-bit codes are computed on"
        if tensor.data is None and any(n > 1 for n in tensor.shape[:-WIDE_AXES]):
            return (f"{tensor.name!r} has the shape {list(tensor.shape)}; only the last "
                    f"{WIDE_AXES} axes may be larger than 1")
    return next((text for limit in LIMITS[operator.name] if (text := limit(seen))), "")


def _constant(*places: int) -> Limit:
    """The inputs at these places must be constant."""
    def limit(seen: Seen) -> str:
        for k in places:
            if k < len(seen.inputs) and seen.inputs[k].data is None:
                return f"its input {seen.inputs[k].name!r} must be constant"
        return ""

    return limit


def _no_activation(seen: Seen) -> str:
    return "has a fused activation" if seen.options.get("fused_activation_function", 0) else ""


def _same_dilation(seen: Seen) -> str:
    pair = [seen.options.get(f"dilation_{k}_factor", 1) for k in "hw"]
    return "" if pair[0] == pair[1] else f"dilates by {pair[0]} and {pair[1]}; both must be equal"


def _one_row(seen: Seen) -> str:
    shape = seen.outputs[0].shape
    return "" if all(n == 1 for n in shape[:-1]) else (
        f"gives {list(shape)}; only a single row is supported")


def _softmax(seen: Seen) -> str:
    size = int(np.prod(seen.inputs[0].shape))
    return _one_row(seen) or ("" if size <= SOFTMAX_ELEMENTS else
                              f"has {size} elements, at most {SOFTMAX_ELEMENTS} are supported")


def _whole_words(seen: Seen) -> str:
    shape = seen.inputs[0].shape
    channels = any(a % len(shape) == len(shape) - 1 for a in _numbers(seen, 1))
    return (f"averages {shape[-1]} channels; their number must be a multiple of {WORD}"
            if channels and shape[-1] % WORD else "")


def _no_batch_axis(seen: Seen) -> str:
    rank = len(seen.inputs[0].shape)
    return "reduces the batch" if any(a % rank == 0 for a in _numbers(seen, 1)) else ""


def _no_batch_margins(seen: Seen) -> str:
    array = seen.inputs[1].data
    if array is None:
        return "its margins must be constant"
    return "pads the batch" if array[0].any() else ""


def _no_batch_pack(seen: Seen) -> str:
    return "packs along the batch" if seen.options.get("axis", 0) == 0 else ""


def _one_axis_slopes(seen: Seen) -> str:
    shape = seen.inputs[1].shape
    return "" if all(n == 1 for n in shape[:-1]) else (
        f"has slopes of shape {list(shape)}; only the last axis may be larger than 1")


def _leading_ones(seen: Seen) -> str:
    """Of the three axes that may be larger than 1, those of 1 must stand first."""
    sizes = list(seen.inputs[0].shape[-WIDE_AXES:])
    while sizes and sizes[0] == 1:
        sizes.pop(0)
    return f"drops axes of {list(seen.inputs[0].shape)} behind larger ones" if 1 in sizes else ""


def _plain_slice(seen: Seen) -> str:
    if any(seen.options.get(f"{name}_mask", 0) for name in ("ellipsis", "new_axis")):
        return "has an ellipsis or a new axis"
    return "" if all(n == 1 for n in _numbers(seen, 3)) else "has steps other than 1"


def _default_weights(seen: Seen) -> str:
    return "has shuffled weights" if seen.options.get("weights_format", 0) else ""


def _split_axis(seen: Seen) -> str:
    rank = len(seen.inputs[1].shape)
    return "splits the batch" if any(a % rank == 0 for a in _numbers(seen, 0)) else ""


def _constant_parts(seen: Seen) -> str:
    parts = [t for t in seen.inputs if t.data is not None]
    zero = all(t.data is not None and t.quant is not None
               and (t.data == t.quant.zero[0]).all() for t in parts)
    return "" if not parts or (len(seen.inputs) == 2 and zero) else (
        "joins a constant; only one of zeros with one other input is supported")


def _numbers(seen: Seen, k: int) -> list[int]:
    array = seen.inputs[k].data
    return [] if array is None else [int(n) for n in array.reshape(-1)]


LIMITS: Mapping[str, Sequence[Limit]] = {
    "ADD": (), "SUB": (), "MUL": (), "MAXIMUM": (), "MINIMUM": (), "SQUARED_DIFFERENCE": (),
    "AVERAGE_POOL_2D": (_no_activation,), "MAX_POOL_2D": (_no_activation,),
    "CONCATENATION": (_no_activation, _constant_parts),
    "CONV_2D": (_constant(1, 2), _same_dilation),
    "DEPTHWISE_CONV_2D": (_constant(1, 2), _same_dilation),
    "TRANSPOSE_CONV": (_constant(0, 1, 3),),
    "FULLY_CONNECTED": (_constant(1, 2), _default_weights, _one_row),
    "EXPAND_DIMS": (), "L2_NORMALIZATION": (), "LOGISTIC": (), "TANH": (), "RELU": (),
    "RELU6": (), "RELU_N1_TO_1": (), "PRELU": (_constant(1), _one_axis_slopes), "RSQRT": (),
    "MEAN": (_no_batch_axis, _whole_words), "SUM": (_no_batch_axis,),
    "REDUCE_MAX": (_no_batch_axis,), "REDUCE_MIN": (_no_batch_axis,),
    "PACK": (_no_batch_pack,), "PAD": (_no_batch_margins,), "QUANTIZE": (),
    "RESHAPE": (), "RESIZE_BILINEAR": (), "RESIZE_NEAREST_NEIGHBOR": (), "SLICE": (),
    "SOFTMAX": (_softmax,), "SPACE_TO_DEPTH": (), "SPLIT": (_split_axis,),
    "SQUEEZE": (_leading_ones,), "STRIDED_SLICE": (_plain_slice,), "TRANSPOSE": (),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ()}
"""The operators that there are, and what limits each."""


def compiled(path: Path) -> str | None:
    """What `edgetpu_compiler` prints of the file, beside which it writes its own; None where it is
    not installed. Raises ToolchainError when it fails."""
    program = shutil.which(COMPILER)
    if program is None:
        return None
    command = [program, "-s", "-o", str(path.parent), str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=COMPILER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{' '.join(command)} did not end: {error}") from error
    if done.returncode:
        raise ToolchainError(f"{' '.join(command)} failed ({done.returncode}):\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
