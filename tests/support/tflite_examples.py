"""One small float network an operator, with what NumPy says it gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tests.support.tflite_files import Options, TfliteFile

Array = np.ndarray
SAME, VALID = 0, 1
RNG_SEED = 5


@dataclass(frozen=True)
class Const:
    """An input of the operator that stands in the file."""

    array: Array


@dataclass(frozen=True)
class Example:
    """A file, its inputs, and the outputs that are right."""

    name: str
    data: bytes
    inputs: Sequence[Array]
    expected: Sequence[Array]


def example(name: str, op: str, operands: Sequence[Array | Const | None],
            expected: Array | Sequence[Array], options: Options | None = None) -> Example:
    """A network of one operator."""
    wanted = [expected] if isinstance(expected, np.ndarray) else list(expected)
    file, reads, given, ports = TfliteFile(), [], [], []
    for operand in operands:
        if operand is None:
            reads.append(-1)
        elif isinstance(operand, Const):
            reads.append(file.constant(operand.array))
        else:
            reads.append(file.tensor(operand.shape, str(operand.dtype)))
            ports.append(reads[-1])
            given.append(operand)
    writes = [file.tensor(a.shape, str(a.dtype)) for a in wanted]
    file.op(op, reads, writes, options)
    return Example(name, file.build(ports, writes), given, wanted)


def ints(*values: int) -> Const:
    return Const(np.asarray(values, np.int32))


def same_margins(x: Array, kernel: Sequence[int], strides: Sequence[int],
                 dilations: Sequence[int], fill: float) -> Array:
    """[N, H, W, C] with TensorFlow's SAME margins of `fill`."""
    pads = [(0, 0)]
    for size, k, s, d in zip(x.shape[1:3], kernel, strides, dilations):
        outputs = (size + s - 1) // s
        total = max(0, (outputs - 1) * s + d * (k - 1) + 1 - size)
        pads.append((total // 2, total - total // 2))
    return np.pad(x, [*pads, (0, 0)], constant_values=fill)


def patches(x: Array, kernel: Sequence[int], strides: Sequence[int],
            dilations: Sequence[int] = (1, 1)) -> Array:
    """[N, H', W', kh, kw, C] of a padded image, by loops."""
    (kh, kw), (sh, sw), (dh, dw) = kernel, strides, dilations
    rows = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1
    columns = (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
    out = np.empty((x.shape[0], rows, columns, kh, kw, x.shape[3]), x.dtype)
    for i in range(rows):
        for j in range(columns):
            out[:, i, j] = x[:, i * sh:i * sh + dh * kh:dh, j * sw:j * sw + dw * kw:dw][:, :kh, :kw]
    return out


def conv(x: Array, w: Array, b: Array, padding: int, strides: Sequence[int] = (1, 1),
         dilations: Sequence[int] = (1, 1)) -> Array:
    """CONV_2D, w [O, kh, kw, C]."""
    x = same_margins(x, w.shape[1:3], strides, dilations, 0) if padding == SAME else x
    return np.einsum("nijhwc,ohwc->nijo", patches(x, w.shape[1:3], strides, dilations), w) + b


def depthwise(x: Array, w: Array, b: Array, strides: Sequence[int] = (1, 1)) -> Array:
    """DEPTHWISE_CONV_2D with SAME, w [1, kh, kw, C · m]."""
    parts = patches(same_margins(x, w.shape[1:3], strides, (1, 1), 0), w.shape[1:3], strides)
    split = w[0].reshape(*w.shape[1:3], x.shape[3], -1)
    found = np.einsum("nijhwc,hwcm->nijcm", parts, split)
    return found.reshape(*found.shape[:3], -1) + b


def transpose_conv(x: Array, w: Array, shape: Sequence[int], strides: Sequence[int],
                   padding: int) -> Array:
    """TRANSPOSE_CONV, w [O, kh, kw, C]: every pixel spread by the kernel, then cut."""
    (n, h, wide, _), (o, kh, kw, _), (sh, sw) = x.shape, w.shape, strides
    full = np.zeros((n, (h - 1) * sh + max(kh, shape[1]), (wide - 1) * sw + max(kw, shape[2]), o))
    for i in range(h):
        for j in range(wide):
            full[:, i * sh:i * sh + kh, j * sw:j * sw + kw] += np.einsum(
                "nc,ohwc->nhwo", x[:, i, j], w)
    top, left = ((max((size - 1) * s + k - want, 0) // 2 if padding == SAME else 0)
                 for size, s, k, want in zip((h, wide), strides, (kh, kw), shape[1:3]))
    return full[:, top:top + shape[1], left:left + shape[2]].astype(np.float32)


def sigmoid(x: Array) -> Array:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


def lstm(x: Array, w: Sequence[Array], r: Sequence[Array], b: Sequence[Array]) -> Array:
    """x [B, T, I]; gates in TensorFlow Lite's order input, forget, cell, output."""
    h = c = np.zeros((x.shape[0], r[0].shape[0]), np.float32)
    found = []
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ wk.T + h @ rk.T + bk for wk, rk, bk in zip(w, r, b))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(h)
    return np.stack(found, 1).astype(np.float32)


def _products(rng: np.random.Generator) -> list[Example]:
    def f(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    x, w, b = f(2, 7, 6, 3), f(4, 3, 2, 3), f(4)
    found = []
    for padding in (SAME, VALID):
        for strides, dilations in (((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 2))):
            y = conv(x, w, b, padding, strides, dilations)
            found.append(example(
                f"conv {padding} {strides} {dilations}", "CONV_2D", [x, Const(w), Const(b)], y,
                ("Conv2DOptions", {"padding": padding, "stride_h": strides[0],
                                   "stride_w": strides[1], "dilation_h_factor": dilations[0],
                                   "dilation_w_factor": dilations[1]})))
    relu6 = np.clip(4 * conv(x, w, b, VALID), 0, 6)
    one = {"padding": VALID, "stride_h": 1, "stride_w": 1}
    found.append(example("conv relu6", "CONV_2D", [x, Const(4 * w), Const(4 * b)], relu6,
                         ("Conv2DOptions", {**one, "fused_activation_function": 3})))
    g = f(4, 3, 3, 1)
    grouped = np.concatenate([conv(x[..., k:k + 1], g[[k]], np.zeros(1, np.float32), VALID)
                              for k in range(2)], -1)
    found.append(example("conv grouped", "CONV_2D", [x[..., :2], Const(g[:2]), None], grouped,
                         ("Conv2DOptions", one)))
    d, e = f(1, 3, 3, 6), f(6)
    found.append(example("depthwise", "DEPTHWISE_CONV_2D", [x, Const(d), Const(e)],
                         depthwise(x, d, e, (2, 2)),
                         ("DepthwiseConv2DOptions", {"padding": SAME, "stride_h": 2, "stride_w": 2,
                                                     "depth_multiplier": 2})))
    found += [_mediapipe(f(1, 4, 3, 2), f(5, 3, 2, 2), f(5), padding) for padding in (SAME, VALID)]
    found += [_transposed(f(1, 4, 3, 2), f(3, *kernel, 2), shape, strides, padding)
              for kernel, shape, strides, padding in (
                  ((3, 3), (1, 8, 6, 3), (2, 2), SAME), ((3, 3), (1, 9, 7, 3), (2, 2), VALID),
                  ((2, 2), (1, 12, 9, 3), (3, 3), SAME), ((3, 2), (1, 4, 3, 3), (1, 1), SAME))]
    m, k, v = f(2, 3, 8), f(5, 8), f(5)
    rows = m.reshape(6, 8) @ k.T
    found.append(example("dense", "FULLY_CONNECTED", [m, Const(k), Const(v)],
                         np.maximum(rows + v, 0),
                         ("FullyConnectedOptions", {"fused_activation_function": 1})))
    found.append(example("dense kept", "FULLY_CONNECTED", [m, Const(k), None],
                         rows.reshape(2, 3, 5), ("FullyConnectedOptions", {"keep_num_dims": True})))
    a, c = f(2, 4, 3), f(2, 5, 4)
    found.append(example("batch matmul", "BATCH_MATMUL", [a, c],
                         a.transpose(0, 2, 1) @ c.transpose(0, 2, 1),
                         ("BatchMatMulOptions", {"adj_x": True, "adj_y": True})))
    return found


def _mediapipe(x: Array, w: Array, b: Array, padding: int) -> Example:
    """Its own transposed convolution: SAME is 1 there, VALID 2."""
    wide = [n * 2 if padding == SAME else (n - 1) * 2 + k
            for n, k in zip(x.shape[1:3], w.shape[1:3])]
    expected = transpose_conv(x, w, (1, *wide, len(w)), (2, 2), padding) + b
    return example(f"mediapipe {padding}", "CUSTOM 'Convolution2DTransposeBias'",
                   [x, Const(w), Const(b)], expected, np.int32([padding + 1, 2, 2]).tobytes())


def _transposed(x: Array, w: Array, shape: tuple[int, ...], strides: tuple[int, int],
                padding: int) -> Example:
    return example(f"transpose conv {shape}", "TRANSPOSE_CONV", [ints(*shape), Const(w), x],
                   transpose_conv(x, w, shape, strides, padding),
                   ("TransposeConvOptions", {"padding": padding, "stride_h": strides[0],
                                             "stride_w": strides[1]}))


def _spatial(rng: np.random.Generator) -> list[Example]:
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    found = []
    for padding in (SAME, VALID):
        options = ("Pool2DOptions", {"padding": padding, "stride_h": 2, "stride_w": 2,
                                     "filter_height": 3, "filter_width": 2})
        wide = (same_margins(x, (3, 2), (2, 2), (1, 1), np.nan) if padding == SAME else x)
        parts = patches(wide, (3, 2), (2, 2))
        found.append(example(f"max pool {padding}", "MAX_POOL_2D", [x], np.nanmax(parts, (3, 4)),
                             options))
        found.append(example(f"average pool {padding}", "AVERAGE_POOL_2D", [x],
                             np.nanmean(parts, (3, 4)), options))
    # Rows (k + 1/2) · 4/7 and columns (k + 1/2) · 5/3, rounded.
    both = x[:, [0, 1, 1, 2, 3, 3, 4, 4]][:, :, [1, 3, 4, 5]]
    found.append(example("nearest, aligned and halves", "RESIZE_NEAREST_NEIGHBOR", [x, ints(8, 4)],
                         both, ("ResizeNearestNeighborOptions",
                                {"align_corners": True, "half_pixel_centers": True})))
    for mode in ("", "align_corners", "half_pixel_centers"):
        for name, table, axis in (
                ("RESIZE_BILINEAR", "ResizeBilinearOptions", _bilinear),
                ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", _nearest)):
            y = np.einsum("hi,nijc,wj->nhwc", axis(5, 8, mode), x, axis(6, 4, mode))
            found.append(example(f"{name} {mode}", name, [x, ints(8, 4)], y.astype(np.float32),
                                 (table, {mode: True} if mode else {})))
    found.append(example("enlarge", "RESIZE_NEAREST_NEIGHBOR", [x, ints(10, 18)],
                         x.repeat(2, 1).repeat(3, 2), ("ResizeNearestNeighborOptions",
                                                       {"half_pixel_centers": True})))
    image = rng.normal(size=(1, 4, 6, 8)).astype(np.float32)
    blocks = np.stack([image[:, i::2, j::2] for i in range(2) for j in range(2)], 3)
    found.append(example("space to depth", "SPACE_TO_DEPTH", [image],
                         blocks.reshape(1, 2, 3, 32), ("SpaceToDepthOptions", {"block_size": 2})))
    found += _places(rng.integers(-4, 4, (2, 4, 6, 3)).astype(np.float32))
    found += _batches(rng.normal(size=(2, 4, 6, 3)).astype(np.float32))
    found.append(example("depth to space", "DEPTH_TO_SPACE", [blocks.reshape(1, 2, 3, 32)], image,
                         ("DepthToSpaceOptions", {"block_size": 2})))
    return found


def _places(x: Array) -> list[Example]:
    """MediaPipe's pool by windows of 2 x 3 with the place of each largest number, and back."""
    options = np.int32([SAME + 1, 3, 2, 3, 2, 0, 0, 0]).tobytes()
    n, h, w, c = x.shape
    largest, places = (np.zeros((n, h // 2, w // 3, c), np.float32) for _ in range(2))
    back = np.zeros_like(x)
    for at in np.ndindex(*largest.shape):
        i, j = 2 * at[1], 3 * at[2]
        window = x[at[0], i:i + 2, j:j + 3, at[3]]
        k = int(window.argmax())
        largest[at], places[at] = window.max(), k + 0.1
        back[at[0], i + k // 3, j + k % 3, at[3]] = window.max()
    return [example("largest and where", "CUSTOM 'MaxPoolingWithArgmax2D'", [x],
                    [largest, places], options),
            example("back where they were", "CUSTOM 'MaxUnpooling2D'", [largest, places], back,
                    options)]


def _batches(x: Array) -> list[Example]:
    """Blocks of 2 x 3 pixels dealt out to six batches, and back."""
    dealt = np.concatenate([x[:, i::2, j::3] for i in range(2) for j in range(3)])
    wide = np.pad(x, [(0, 0), (1, 1), (0, 3), (0, 0)])
    padded = np.concatenate([wide[:, i::2, j::3] for i in range(2) for j in range(3)])
    none, some = np.zeros((2, 2), np.int32), np.int32([[1, 1], [0, 3]])
    line = x[:, :, 0]
    wide_line = np.pad(line, [(0, 0), (1, 1), (0, 0)])
    thirds = np.concatenate([wide_line[:, i::3] for i in range(3)])
    three = [example("deal out a line", "SPACE_TO_BATCH_ND", [line, ints(3), Const(
        np.int32([[1, 1]]))], thirds), example("collect a line", "BATCH_TO_SPACE_ND", [
            thirds, ints(3), Const(np.int32([[1, 1]]))], line)]
    return three + [example(name, op, [a, ints(2, 3), Const(ends)], b) for name, op, a, ends, b in (
        ("deal out", "SPACE_TO_BATCH_ND", x, none, dealt),
        ("pad and deal out", "SPACE_TO_BATCH_ND", x, some, padded),
        ("collect", "BATCH_TO_SPACE_ND", dealt, none, x),
        ("collect and crop", "BATCH_TO_SPACE_ND", padded, some, x))]


def _place(i: int, size: int, count: int, mode: str) -> float:
    """Where output pixel i lies among the input's (ComputeInterpolationValues)."""
    if mode == "align_corners":
        return i * (size - 1) / (count - 1)
    return (i + 0.5) * size / count - 0.5 if mode else i * size / count


def _bilinear(size: int, count: int, mode: str) -> Array:
    matrix = np.zeros((count, size))
    for i in range(count):
        at = max(_place(i, size, count, mode), 0.0)
        low = min(int(at), size - 1)
        matrix[i, low] += 1 - (at - low)
        matrix[i, min(low + 1, size - 1)] += at - low
    return matrix


def _nearest(size: int, count: int, mode: str) -> Array:
    matrix = np.zeros((count, size))
    for i in range(count):
        shift = 0.5 if mode else 0.0
        matrix[i, min(int(np.floor(_place(i, size, count, mode) + shift)), size - 1)] = 1
    return matrix


def _pointwise(rng: np.random.Generator) -> list[Example]:
    x = (2.5 * rng.normal(size=(2, 3, 4))).astype(np.float32)
    y, row = rng.normal(size=(2, 3, 4)).astype(np.float32), np.float32([[0.5, -1, 2, 3]])
    positive = np.abs(x) + np.float32(0.1)
    unary = {
        "RELU": np.maximum(x, 0), "RELU6": np.clip(x, 0, 6), "RELU_N1_TO_1": np.clip(x, -1, 1),
        "RELU_0_TO_1": np.clip(x, 0, 1), "LOGISTIC": sigmoid(x), "TANH": np.tanh(x),
        "ELU": np.where(x > 0, x, np.expm1(x)), "HARD_SWISH": x * np.clip(x + 3, 0, 6) / 6,
        "EXP": np.exp(x), "ABS": np.abs(x), "NEG": -x, "FLOOR": np.floor(x), "CEIL": np.ceil(x),
        "ROUND": np.rint(x), "SIN": np.sin(x), "COS": np.cos(x), "SQUARE": x * x,
        "SIGN": np.sign(x)}
    found = [example(name, name, [x], want.astype(np.float32)) for name, want in unary.items()]
    found += [example(name, name, [positive], want) for name, want in (
        ("LOG", np.log(positive)), ("SQRT", np.sqrt(positive)), ("RSQRT", 1 / np.sqrt(positive)))]
    found += [
        example("leaky relu", "LEAKY_RELU", [x], np.where(x > 0, x, np.float32(0.25) * x),
                ("LeakyReluOptions", {"alpha": 0.25})),
        example("prelu", "PRELU", [x, Const(row[0] / 8)], np.where(x > 0, x, x * row / 8)),
        example("gelu", "GELU", [x], (x / 2 * (1 + np.tanh(
            np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))).astype(np.float32),
                ("GeluOptions", {"approximate": True})),
        example("add n", "ADD_N", [x, y, y], x + y + y)]
    for name, want in (("ADD", x + row), ("SUB", x - row), ("MUL", x * row), ("DIV", x / row)):
        found.append(example(name, name, [x, Const(row)], want,
                             (f"{name.title()}Options", {"fused_activation_function": 0})))
    for kind in (np.int32, np.float32):
        a, b = np.array([7, -7, 7, -7, 6, -6, 0], kind), np.array([2, 2, -2, -2, 3, 3, 5], kind)
        found += [example(f"{name} {kind.__name__}", name, [a, b], np.array(want, kind))
                  for name, want in (("FLOOR_DIV", [3, -4, -4, 3, 2, -2, 0]),
                                     ("FLOOR_MOD", [1, 1, -1, -1, 0, 0, 0]))]
    found.append(example("add relu", "ADD", [x, y], np.maximum(x + y, 0),
                         ("AddOptions", {"fused_activation_function": 1})))
    for name, want in (
            ("MAXIMUM", np.maximum(x, y)), ("MINIMUM", np.minimum(x, y)),
            ("SQUARED_DIFFERENCE", (x - y) ** 2), ("POW", None), ("EQUAL", x == y),
            ("NOT_EQUAL", x != y), ("GREATER", x > y), ("GREATER_EQUAL", x >= y),
            ("LESS", x < y), ("LESS_EQUAL", x <= y)):
        first = positive if want is None else x
        found.append(example(name, name, [first, y], positive ** y if want is None else want))
    mask = x > y
    found += [
        example("and", "LOGICAL_AND", [mask, x > 0], mask & (x > 0)),
        example("or", "LOGICAL_OR", [mask, x > 0], mask | (x > 0)),
        example("not", "LOGICAL_NOT", [mask], ~mask),
        example("select", "SELECT", [mask, x, y], np.where(mask, x, y)),
        example("select rows", "SELECT", [np.array([True, False]), x, y], np.stack([x[0], y[1]])),
        example("select v2", "SELECT_V2", [mask[:, :1], x, y], np.where(mask[:, :1], x, y)),
        example("cast", "CAST", [x], x.astype(np.int32))]
    return found


def _moves(rng: np.random.Generator) -> list[Example]:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    pairs = Const(np.int32([[0, 1], [2, 0], [1, 1]]))
    widths = [(0, 1), (2, 0), (1, 1)]
    found = [
        example("reshape", "RESHAPE", [x, ints(4, -1)], x.reshape(4, 6)),
        example("reshape by option", "RESHAPE", [x], x.reshape(6, 4),
                ("ReshapeOptions", {"new_shape": [6, 4]})),
        example("squeeze", "SQUEEZE", [x[:1, :, :1]], x[0, :, 0]),
        example("squeeze one", "SQUEEZE", [x[:1, :, :1]], x[:1, :, 0],
                ("SqueezeOptions", {"squeeze_dims": [-1]})),
        example("expand", "EXPAND_DIMS", [x, ints(-2)], x[:, :, None]),
        example("transpose", "TRANSPOSE", [x, ints(2, 0, 1)], x.transpose(2, 0, 1)),
        example("pad", "PAD", [x, pairs], np.pad(x, widths)),
        example("pad v2", "PADV2", [x, pairs, Const(np.float32([2.5]))],
                np.pad(x, widths, constant_values=2.5)),
        example("reflect", "MIRROR_PAD", [x, pairs], np.pad(x, widths, "reflect"),
                ("MirrorPadOptions", {"mode": 0})),
        example("symmetric", "MIRROR_PAD", [x, pairs], np.pad(x, widths, "symmetric"),
                ("MirrorPadOptions", {"mode": 1})),
        example("concat", "CONCATENATION", [x, x[:, :1]], np.concatenate([x, x[:, :1]], 1),
                ("ConcatenationOptions", {"axis": -2})),
        example("pack", "PACK", [x, -x], np.stack([x, -x], 1),
                ("PackOptions", {"axis": 1, "values_count": 2})),
        example("unpack", "UNPACK", [x], [x[:, k] for k in range(3)],
                ("UnpackOptions", {"axis": 1, "num": 3})),
        example("split", "SPLIT", [ints(2), x], np.split(x, 2, 2),
                ("SplitOptions", {"num_splits": 2})),
        example("split v", "SPLIT_V", [x, ints(1, -1), ints(1)], np.split(x, [1], 1),
                ("SplitVOptions", {"num_splits": 2})),
        example("slice", "SLICE", [x, ints(0, 1, 2), ints(-1, 2, 1)], x[:, 1:3, 2:3]),
        example("gather", "GATHER", [x, np.int32([[2, 0], [1, 1]])], x[:, [[2, 0], [1, 1]]],
                ("GatherOptions", {"axis": 1})),
        example("embedding", "EMBEDDING_LOOKUP", [np.int32([1, 0, 1]), Const(x)], x[[1, 0, 1]]),
        example("reverse", "REVERSE_V2", [x, ints(1)], x[:, ::-1]),
        example("tile", "TILE", [x, ints(1, 2, 1)], np.tile(x, (1, 2, 1))),
        example("broadcast", "BROADCAST_TO", [x[:, :1], ints(2, 3, 4)],
                np.broadcast_to(x[:, :1], (2, 3, 4)))]
    for name, masks, cut in (
            ("plain", {}, np.s_[0:2, 2:0:-1, 1:4:2]),
            ("masks", {"begin_mask": 4, "end_mask": 2}, np.s_[0:1, 1:, :3]),
            ("shrink", {"shrink_axis_mask": 2}, np.s_[0:2, -1, 0:4]),
            ("new", {"new_axis_mask": 2}, np.s_[0:2, None, 0:2]),
            ("dots", {"ellipsis_mask": 2, "shrink_axis_mask": 1}, np.s_[1, ..., 1:3])):
        found.append(_strided(name, x, masks, cut))
    return found


def _strided(name: str, x: Array, masks: dict[str, int], cut: tuple[object, ...]) -> Example:
    """STRIDED_SLICE of x by a NumPy index."""
    begin, end, step = [], [], []
    for part in cut:
        if isinstance(part, slice):
            begin.append(part.start or 0)
            end.append(part.stop or 0)
            step.append(part.step or 1)
        else:
            at = part if isinstance(part, int) else 0
            begin.append(at)
            end.append(at + 1)
            step.append(1)
    return example(f"strided slice {name}", "STRIDED_SLICE",
                   [x, ints(*begin), ints(*end), ints(*step)], x[cut],
                   ("StridedSliceOptions", masks))


def _reductions(rng: np.random.Generator) -> list[Example]:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    found = []
    for name, function in (("MEAN", np.mean), ("SUM", np.sum), ("REDUCE_MAX", np.max),
                           ("REDUCE_MIN", np.min), ("REDUCE_PROD", np.prod)):
        found.append(example(name, name, [x, ints(1, -1)], function(x, (1, 2))))
        found.append(example(f"{name} kept", name, [x, ints(0)], function(x, 0, keepdims=True),
                             ("ReducerOptions", {"keep_dims": True})))
    e = np.exp(x - x.max(-1, keepdims=True))
    sharp = np.exp(2 * (x - x.max(-1, keepdims=True)))
    norm = np.sqrt((x * x).sum(-1, keepdims=True))
    return [
        *found,
        example("softmax", "SOFTMAX", [x], e / e.sum(-1, keepdims=True),
                ("SoftmaxOptions", {"beta": 1.0})),
        example("softmax beta", "SOFTMAX", [x], sharp / sharp.sum(-1, keepdims=True),
                ("SoftmaxOptions", {"beta": 2.0})),
        example("log softmax", "LOG_SOFTMAX", [x], np.log(e / e.sum(-1, keepdims=True))),
        example("l2", "L2_NORMALIZATION", [x], x / norm, ("L2NormOptions", {})),
        example("l2 of zeros", "L2_NORMALIZATION", [0 * x], 0 * x, ("L2NormOptions", {})),
        example("arg max", "ARG_MAX", [x, ints(1)], x.argmax(1).astype(np.int32),
                ("ArgMaxOptions", {"output_type": 2})),
        example("arg min", "ARG_MIN", [x, ints(-1)], x.argmin(-1), ("ArgMinOptions",
                                                                    {"output_type": 4}))]


def lstm_example(rng: np.random.Generator, steps_first: bool = False) -> Example:
    """UNIDIRECTIONAL_SEQUENCE_LSTM as converters from Keras write it."""
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    w = [rng.normal(size=(4, 3)).astype(np.float32) for _ in range(4)]
    r = [rng.normal(size=(4, 4)).astype(np.float32) for _ in range(4)]
    b = [rng.normal(size=4).astype(np.float32) for _ in range(4)]
    y = lstm(x, w, r, b)
    if steps_first:
        x, y = x.transpose(1, 0, 2), y.transpose(1, 0, 2)
    file = TfliteFile()
    place = file.tensor(x.shape)
    reads = [place, *(file.constant(a) for a in (*w, *r)), -1, -1, -1,
             *(file.constant(a) for a in b), -1, -1,
             *(file.tensor([2, 4], variable=True) for _ in range(2)), -1, -1, -1, -1]
    out = file.tensor(y.shape)
    file.op("UNIDIRECTIONAL_SEQUENCE_LSTM", reads, [out], ("UnidirectionalSequenceLSTMOptions", {
        "fused_activation_function": 4, "cell_clip": 10.0, "time_major": steps_first}))
    return Example(f"lstm {steps_first}", file.build([place], [out]), [x], [y])


def rnn_example(rng: np.random.Generator, steps_first: bool, relu: bool) -> Example:
    """UNIDIRECTIONAL_SEQUENCE_RNN."""
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    w, r, b = (rng.normal(size=s).astype(np.float32) / 2 for s in ((4, 3), (4, 4), (4,)))
    h, steps = np.zeros((2, 4), np.float32), []
    for t in range(5):
        total = x[:, t] @ w.T + h @ r.T + b
        h = np.maximum(total, 0) if relu else np.tanh(total)
        steps.append(h)
    y = np.stack(steps, 0 if steps_first else 1)
    x = x.transpose(1, 0, 2) if steps_first else x
    return example(f"rnn {steps_first} {relu}", "UNIDIRECTIONAL_SEQUENCE_RNN",
                   [x, *(Const(a) for a in (w, r, b, np.zeros((2, 4), np.float32)))], y,
                   ("SequenceRNNOptions", {"time_major": steps_first,
                                           "fused_activation_function": 1 if relu else 4}))


def examples() -> list[Example]:
    """All of them, the same at every call."""
    rng = np.random.default_rng(RNG_SEED)
    return [*_products(rng), *_spatial(rng), *_pointwise(rng), *_moves(rng), *_reductions(rng),
            lstm_example(rng), lstm_example(rng, True), rnn_example(rng, False, False),
            rnn_example(rng, True, True)]
