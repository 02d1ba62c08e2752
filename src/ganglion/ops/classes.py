"""Names of the classes that outputs tell apart: metadata of a Model, by the output's name."""

import json
from collections.abc import Sequence

import onnx_ir as ir

from ganglion.errors import DataError, ModelError
from ganglion.ops.marks import CLASSES

MOST_CLASSES = 100_000


def class_names(model: ir.Model) -> dict[str, tuple[str, ...]]:
    """{output: names}, for those that have names. Raises ModelError for metadata that is none."""
    text = model.metadata_props.get(CLASSES)
    if text is None:
        return {}
    try:
        found = {str(output): tuple(names) for output, names in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"metadata {CLASSES!r} is malformed ({error}); expected a JSON object of "
                         "lists of names, by output") from error
    sizes = {str(v.name): _columns(v) for v in model.graph.outputs}
    for output, names in found.items():
        if output in sizes and not _fit(names, sizes[output]):
            raise ModelError(f"metadata {CLASSES!r}: {len(names)} names for output {output!r} of "
                             f"{sizes[output]} classes; expected a text for each")
    return {output: names for output, names in found.items() if output in sizes}


def name_classes(model: ir.Model, names: Sequence[str], output: str | None = None) -> None:
    """Names what the columns of an output stand for, in place; two names for a single column: 0
    and 1. They stay with the Model wherever it goes, and with what is built of it.

    `output`: its name, where there are several. Raises DataError for names that do not fit.
    """
    outputs = {str(v.name): v for v in model.graph.outputs}
    if output is None and len(outputs) == 1:
        output = next(iter(outputs))
    if output not in outputs:
        raise DataError(f"classes for output {output!r}; the network has "
                        f"{', '.join(map(repr, outputs))}")
    columns = _columns(outputs[output])
    if not _fit(names, columns):
        raise DataError(f"{len(names)} names of classes for output {output!r}, which tells "
                        f"{columns} apart; give a text for each")
    found = {**class_names(model), output: list(names)}
    model.metadata_props[CLASSES] = json.dumps(found, ensure_ascii=False)


def _columns(value: ir.Value) -> int | None:
    """How many classes an output tells apart, None where that is not known."""
    last = value.shape[-1] if value.shape is not None and len(value.shape) else None
    return max(last, 2) if isinstance(last, int) else None


def _fit(names: Sequence[object], columns: int | None) -> bool:
    return (len(names) == columns or columns is None) and len(names) <= MOST_CLASSES and all(
        isinstance(name, str) for name in names)
