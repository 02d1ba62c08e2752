"""The passes in order: a Model as given ⇒ a Model as planning wants it."""

from collections import Counter
from collections.abc import Mapping

import onnx_ir as ir

from ganglion.errors import UnsupportedOp, spoken_counts
from ganglion.ops.guard import check_attributes
from ganglion.ops.registry import find, rows
from ganglion.passes.base import Pass, run
from ganglion.passes.infer import FixShapes, require_static
from ganglion.passes.quantized.hybrid import ToHybrid
from ganglion.passes.quantized.integer import ToInteger
from ganglion.passes.quantized.unpack_weights import UnpackWeights
from ganglion.passes.quantized.unsigned_codes import UnsignedCodes
from ganglion.passes.simplify.cancel_reshapes import CancelReshapes
from ganglion.passes.simplify.cancel_transposes import CancelTransposes
from ganglion.passes.simplify.cast_like import CastLikeToCast
from ganglion.passes.simplify.common_subexpressions import CommonSubexpressions
from ganglion.passes.simplify.dead_code import DeadCode
from ganglion.passes.simplify.fold_batch_norm import FoldBatchNorm, FoldBias, SplitBatchNorm
from ganglion.passes.simplify.fold_constants import FoldConstants
from ganglion.passes.simplify.fold_pad import FoldPad
from ganglion.passes.simplify.lay_open import LayOpen
from ganglion.passes.simplify.split_depth import SplitDepth
from ganglion.passes.simplify.split_einsum import SplitEinsum
from ganglion.passes.simplify.split_gemm import SplitGemm
from ganglion.passes.simplify.split_resize import SplitResize
from ganglion.passes.streaming.stream import stream


def ready_to_plan(model: ir.Model, batch: int = 1, streaming: bool = False,
                  hybrid: bool = False) -> ir.Model:
    """The Model as the planner takes it: prepared, integer islands made integer operators, whose
    codes are unsigned wherever nobody outside sees them; with `hybrid` also products of floats by
    int8 weights. Integer weights that floats are multiplied by are unpacked."""
    if streaming:
        model = stream(model, batch)
    ready = prepare(model, batch=batch)
    ToInteger()(ready)
    UnsignedCodes()(ready)
    if hybrid:
        ToHybrid()(ready)
    run(ready, (UnpackWeights(), FoldConstants()))
    return ready


def prepare(model: ir.Model, batch: int = 1, sizes: Mapping[str, int] | None = None) -> ir.Model:
    """A copy of the Model made static and simple for inference; the Model itself stays.

    Batch normalisation is folded. Raises ModelError when dimensions stay dynamic, UnsupportedOp
    for an operator that the project does not know.
    """
    passes = inference_passes()
    copy = _static(model, batch, sizes)
    check_attributes(copy.graph)
    run(copy, passes)
    # Only what no linear operator could take; the pieces then meet the other passes.
    run(copy, (SplitBatchNorm(), SplitGemm(), SplitResize(), *passes))
    require_rows(copy)
    require_static(copy)
    return copy


def require_rows(model: ir.Model) -> None:
    """Raises UnsupportedOp naming the first node whose operator the project does not know, and all
    such operators."""
    missing = [n for n in model.graph if find(n.domain, n.op_type) is None]
    if missing:
        names = [f"{n.domain or 'ai.onnx'}.{n.op_type}" for n in missing]
        known = ", ".join(sorted(name for _, name in rows()))
        raise UnsupportedOp(
            f"node {missing[0].name!r} uses the operator {names[0]}, which is not supported. "
            f"{spoken_counts(Counter(names), 'node')} not: export the network with these "
            f"operators: {known}")


def inference_passes() -> tuple[Pass, ...]:
    """The order for inference."""
    return (CastLikeToCast(), LayOpen(), SplitEinsum(), FoldConstants(), CancelReshapes(),
            CancelTransposes(), FoldBatchNorm(), FoldBias(), FoldPad(), SplitDepth(),
            CommonSubexpressions(), DeadCode())


def _static(model: ir.Model, batch: int, sizes: Mapping[str, int] | None) -> ir.Model:
    copy = model.clone(deep_copy=True)
    FixShapes(sizes, batch)(copy)
    return copy
