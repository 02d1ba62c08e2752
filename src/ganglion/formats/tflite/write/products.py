"""Convolutions and matrix products. TensorFlow Lite is channels-last, ONNX channels-first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.formats.tflite.write.flat import Options, Quant
from ganglion.formats.tflite.write.site import Array, Perm, Rule, Site, constant_of, last
from ganglion.ops.facts import is_op
from ganglion.ops.named import ADD
from ganglion.ops.values import static_shape
from ganglion.ops.windows import Window, window
from ganglion.passes.base import only_reader
from ganglion.passes.quantized.sums import INT32_MAX, steps

SAME, VALID = 0, 1
LEAST = float(np.finfo(np.float32).min)
"""What surrounds an image whose greatest pixels are sought."""


@dataclass(frozen=True)
class Image:
    """A tensor [N, H, W, C]; `flat` where the value has one spatial axis, then H is 1."""

    tensor: int
    sizes: tuple[int, int]
    channels: int
    flat: bool


def image(site: Site, moved: bool = False) -> Image:
    """Input 0 [N, C, spatial...] channels-last. `moved`: as it is stored, codes or numbers."""
    shape = site.shape(0)
    if len(shape) not in (3, 4):
        raise site.unsupported(f"its input has the shape {list(shape)}; a .tflite file knows "
                               "images [N, C, H, W] and rows [N, C, L]")
    order = last(len(shape))
    tensor = site.moved(0, order) if moved else site.read(0, order)
    sizes = (shape[2], shape[3]) if len(shape) == 4 else (1, shape[2])
    if len(shape) == 3:
        tensor = site.reshaped(tensor, (shape[0], *sizes, shape[1]))
    return Image(tensor, sizes, shape[1], len(shape) == 3)


def put_image(site: Site, tensor: int) -> None:
    """`tensor` [N, H, W, C] holds the result."""
    shape = static_shape(site.result)
    if len(shape) == 3:
        tensor = site.reshaped(tensor, (shape[0], shape[2], shape[1]))
    site.put(tensor, last(len(shape)))


def two(values: Sequence[int], filler: int) -> tuple[int, int]:
    """One entry for each spatial axis, the first `filler` where the value has only one."""
    return (values[0], values[1]) if len(values) == 2 else (filler, values[0])


def padding(site: Site, x: Image, w: Window, fill: float | None = 0.0) -> tuple[int, int]:
    """(tensor, SAME or VALID): margins that neither expresses become a PAD in front.

    `fill`: what the margins hold; None where they must not count, which no PAD can do.
    """
    begin, end = two(w.begin, 0), two(w.end, 0)
    extent, strides = two(w.extent, 1), two(w.strides, 1)
    out = two(w.out, 1)
    same, ends = [], []
    for size, b, width, step, count in zip(x.sizes, begin, extent, strides, out):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        same.append(count == -(-size // step) and b == total // 2)
        ends.append(max((count - 1) * step + width - size - b, 0))
    if not any(begin) and not any(ends) and not any(end):
        return x.tensor, VALID
    if all(same):
        return x.tensor, SAME
    if not any(begin) and not any(ends):
        return x.tensor, VALID
    if fill is None:
        raise site.unsupported(f"its margins {list(w.pads)} are neither SAME nor VALID and must "
                               "not count; use count_include_pad=1 or a Pad in front")
    widths = [(0, 0), (begin[0], ends[0]), (begin[1], ends[1]), (0, 0)]
    return padded(site, x.tensor, widths, fill), VALID


def padded(site: Site, tensor: int, widths: Sequence[tuple[int, int]], fill: float) -> int:
    """PAD with zeros, or PADV2 with another number; codes stay codes."""
    source = site.flat.tensors[tensor]
    shape = [a + n + b for n, (a, b) in zip(source.shape, widths)]
    margins = site.flat.constant(np.asarray(widths, np.int32), "margins")
    if fill == 0.0:
        return site.op("PAD", [tensor, margins], shape, ("PadOptions", {}), like=tensor)
    number: Array = np.asarray([fill], source.dtype)
    if source.quant is not None:
        code = np.rint(fill / source.quant.scale[0]) + source.quant.zero[0]
        number = np.clip([code], -128, 127).astype(np.int8)
    given = site.flat.constant(number, "fill", source.quant)
    return site.op("PADV2", [tensor, margins, given], shape, ("PadV2Options", {}), like=tensor)


def weights(site: Site, k: int, perm: Perm, out_axis: int, shape: Sequence[int] | None = None,
            hybrid: bool = False) -> int:
    """Constant weights in the order `perm`, then reshaped; codes where the operator is int8.

    `out_axis`: where `shape` has the output channels, along which many scales may lie. `hybrid`:
    whether TensorFlow Lite has the operator with floats and int8 weights around zero.
    """
    found = site.codes(k) if site.target is not None else None
    if hybrid and site.values.hybrid and site.target is None:
        found = _hybrid_codes(site, k, perm[out_axis])
    if found is not None:
        array, q = found
        quant = Quant(q.scale, q.zero, 0 if q.per_tensor else out_axis)
        moved = array.transpose(perm)
        return site.flat.constant(moved if shape is None else moved.reshape(tuple(shape)),
                                  site.values.fresh(str(site.value(k).name)), quant)
    real = site.constant(k)
    if real is None:
        raise site.unsupported("its weights are computed; a .tflite file is written with constant "
                               "ones")
    moved = real.transpose(perm)
    return site.flat.constant(moved if shape is None else moved.reshape(tuple(shape)),
                              site.values.fresh(str(site.value(k).name)))


def _hybrid_codes(site: Site, k: int, axis: int) -> tuple[Array, Quant] | None:
    """Codes around zero with one scale, or one along `axis`; None where they are no such."""
    found = site.codes(k)
    if found is None or found[0].dtype != np.int8 or any(found[1].zero):
        return None
    return found if found[1].per_tensor or found[1].axis == axis else None


def aim_product(site: Site, k: int, out_axis: int) -> None:
    """Sets the target where input 0 and the weights (input k) are codes that int8 products take:
    weights around zero, their scales one a tensor or along their axis `out_axis`."""
    x, w = site.quant(0), site.codes(k)
    if x is None or w is None or w[0].dtype != np.int8 or any(w[1].zero):
        return
    if w[1].per_tensor or w[1].axis == out_axis:
        site.target = site.aim()


def biased(site: Site, array: Array | None, w: int, axis: int, count: int) -> tuple[int, int]:
    """The weights and the bias [count]; int32 codes in steps of x's scale times the weights' where
    int8. A channel without weights (`axis`) gets a scale that is fine enough for its bias."""
    numbers = np.zeros(count) if array is None else np.broadcast_to(array.reshape(-1), (count,))
    tensor, x = site.flat.tensors[w], site.quant(0)
    quant, codes = tensor.quant, tensor.data
    if site.target is None or quant is None or x is None or codes is None:
        return w, site.flat.constant(numbers.astype(np.float32), site.values.fresh("bias"))
    found = steps(np.moveaxis(codes, axis, 0).reshape(count, -1), np.asarray(quant.scale),
                  numbers.astype(np.float64), x.scale[0], site.target.scale[0])
    if np.abs(found.bias).max(initial=0) > INT32_MAX:
        raise site.unsupported("its bias leaves int32 in steps of its scales; quantise the float "
                               "network with ganglion.quantize, which chooses larger ones")
    if (found.scales != np.asarray(quant.scale, np.float32)).any():
        quant = Quant(tuple(map(float, found.scales)), (0,) * count, axis)
        w = site.flat.constant(codes, site.values.fresh(tensor.name), quant)
    step = (np.float64(x.scale[0]) * np.asarray(quant.scale)).astype(np.float32)
    return w, site.flat.constant(found.bias.astype(np.int32), site.values.fresh("bias"),
                                 Quant(tuple(map(float, step)), (0,) * step.size, 0))


def conv(site: Site) -> None:
    """Conv as CONV_2D, or DEPTHWISE_CONV_2D with one input channel a group."""
    aim_product(site, 1, 0)
    shape = site.shape(1)
    groups = site.whole("group", 1)
    x = image(site)
    w = window(site.attrs, site.shape(0)[2:], shape[2:])
    kernel, outputs = two(shape[2:], 1), shape[0]
    depthwise = groups == x.channels and shape[1] == 1 and groups > 1
    spatial = tuple(range(2, len(shape)))
    if depthwise:
        packed = weights(site, 1, (1, *spatial, 0), 3, (1, *kernel, outputs))
    else:
        packed = weights(site, 1, (0, *spatial, 1), 0, (outputs, *kernel, shape[1]), groups == 1)
    tensor, mode = padding(site, x, w)
    packed, b = biased(site, site.constant(2), packed, 3 if depthwise else 0, outputs)
    strides, dilations = two(w.strides, 1), two(w.dilations, 1)
    fields = {"padding": mode, "stride_w": strides[1], "stride_h": strides[0],
              "dilation_w_factor": dilations[1], "dilation_h_factor": dilations[0],
              "fused_activation_function": site.activation()}
    out = (site.shape(0)[0], *two(w.out, 1), outputs)
    if depthwise:
        fields["depth_multiplier"] = outputs // groups
        y = site.op("DEPTHWISE_CONV_2D", [tensor, packed, b], out,
                    ("DepthwiseConv2DOptions", fields))
    else:
        y = site.op("CONV_2D", [tensor, packed, b], out, ("Conv2DOptions", fields))
    put_image(site, y)


def conv_transpose(site: Site) -> None:
    """ConvTranspose as TRANSPOSE_CONV, its result cut where the pads are not SAME or VALID."""
    if site.whole("group", 1) != 1 or any(d != 1 for d in site.wholes("dilations", [1])):
        raise site.unsupported("a .tflite file knows transposed convolutions without groups and "
                               "dilation only")
    aim_product(site, 1, 1)
    shape, x = site.shape(1), image(site)
    kernel, outputs = two(shape[2:], 1), shape[1]
    packed = weights(site, 1, (1, *range(2, len(shape)), 0), 0, (outputs, *kernel, shape[0]))
    strides = two(site.wholes("strides", [1] * (len(shape) - 2)), 1)
    want = two(static_shape(site.node.outputs[0])[2:], 1)
    begin = two(site.wholes("pads", [0] * 2 * (len(shape) - 2))[:len(shape) - 2], 0)
    full = tuple((n - 1) * s + k for n, s, k in zip(x.sizes, strides, kernel))
    grown = tuple(max(f, b + n) for f, b, n in zip(full, begin, want))
    packed, b = biased(site, site.constant(2), packed, 0, outputs)
    batch = site.shape(0)[0]
    sizes = (batch, *grown, outputs)
    y = site.op("TRANSPOSE_CONV", [site.flat.ints(*sizes), packed, x.tensor, b], sizes,
                ("TransposeConvOptions", {"padding": VALID, "stride_w": strides[1],
                                          "stride_h": strides[0]}))
    if grown != want:
        y = site.op("SLICE", [y, site.flat.ints(0, *begin, 0),
                              site.flat.ints(batch, *want, outputs)], (batch, *want, outputs),
                    ("SliceOptions", {}), like=y)
    put_image(site, y)


def matmul(site: Site) -> None:
    """MatMul as FULLY_CONNECTED (with the bias added behind it) or BATCH_MATMUL."""
    known = site.constant(1)
    if known is None or known.ndim != 2 or site.constant(0) is not None:
        batch_matmul(site)
        return
    array = _added(site, known.shape[1])
    aim_product(site, 1, 1)
    connected(site, (1, 0), array, known.shape[1])


def gemm(site: Site) -> None:
    """Gemm with constant weights as FULLY_CONNECTED."""
    known = site.constant(1)
    scales = (site.real("alpha", 1.0), site.real("beta", 1.0))
    if known is None or site.whole("transA", 0) or scales != (1.0, 1.0):
        raise site.unsupported("only x · W + b with constant W is written")
    turned = site.whole("transB", 0)
    outputs = known.shape[0 if turned else 1]
    array = site.constant(2)
    if site.has(2) and (array is None or array.size not in (1, outputs)
                        or array.shape[-1:] not in ((), (1,), (outputs,))):
        raise site.unsupported("its bias must be constant, one number for each output")
    aim_product(site, 1, 0 if turned else 1)
    connected(site, (0, 1) if turned else (1, 0), array, outputs)


def connected(site: Site, perm: Perm, array: Array | None, outputs: int) -> None:
    """FULLY_CONNECTED of input 0 with weights [outputs, inputs]."""
    x = site.read(0)
    w = weights(site, 1, perm, 0, hybrid=True)
    w, b = biased(site, array, w, 0, outputs)
    fields = {"keep_num_dims": True, "fused_activation_function": site.activation()}
    if site.target is None and site.flat.tensors[w].quant is not None:
        fields["asymmetric_quantize_inputs"] = True
    shape = (*site.shape(0)[:-1], outputs)
    site.put(site.op("FULLY_CONNECTED", [x, w, b], shape, ("FullyConnectedOptions", fields)))


def _added(site: Site, outputs: int) -> Array | None:
    """The constant that the only reader adds to every row; that reader is absorbed."""
    reader = only_reader(site.result)
    if reader is None or not is_op(reader, ADD):
        return None
    other = reader.inputs[1 if reader.inputs[0] is site.result else 0]
    array = None if other is None else constant_of(other)
    if array is None or array.size not in (1, outputs) or array.ndim > len(
            static_shape(site.result)) or array.shape[-1:] not in ((), (1,), (outputs,)):
        return None
    site.absorb(reader)
    return array


def batch_matmul(site: Site) -> None:
    """MatMul of two computed matrices, or with a constant of more axes."""
    ranks = (len(site.shape(0)), len(site.shape(1)))
    if min(ranks) < 2 or ranks[0] != ranks[1]:
        raise site.unsupported(f"multiplies {list(site.shape(0))} by {list(site.shape(1))}; a "
                               ".tflite file wants matrices of the same number of axes. Reshape "
                               "them alike")
    if site.quant(0) is not None and site.quant(1) is not None:
        site.target = site.aim()
    options: Options = ("BatchMatMulOptions", {"adj_x": False, "adj_y": False})
    y = site.op("BATCH_MATMUL", [site.read(0), site.read(1)],
                static_shape(site.node.outputs[0]), options)
    site.put(y)


ROWS: Mapping[str, Rule] = {"Conv": conv, "ConvTranspose": conv_transpose, "MatMul": matmul,
                            "Gemm": gemm}
