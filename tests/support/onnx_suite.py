"""ONNX's own suite (`onnx.backend.test`): its cases, and how this project answers them.

`python -m tests.support.onnx_suite` writes `docs/onnx.md`, the list of cases that pass, and which
of these do not in C.
"""

import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

import ganglion as gg
from ganglion.errors import GanglionError
from ganglion.ops.evaluate import evaluate
from ganglion.passes.pipeline import prepare

Array = np.ndarray
Run = Callable[[ir.Model, Mapping[str, Array]], Sequence[Array]]
PASSING = Path(__file__).with_name("onnx_suite_passing.txt")
NOT_IN_C = PASSING.with_name("onnx_suite_not_in_c.txt")
PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
KINDS = ("simple", "pytorch-converted", "pytorch-operator")
NUMBERS = frozenset("iubf")
COUNTED = ("scales", "roi", "starts", "limit", "start", "delta", "size", "depth")
"""Inputs, floats or the first among them, that say what shape comes out."""


class Outcome(Enum):
    """What became of a case. FIXED: passes with inputs whose value is fixed; OUT: not tensors of
    numbers; FOREIGN: an error that is not the project's own."""

    PASSES = "passes"
    FIXED = "passes, whole numbers fixed"
    REFUSED = "refused by name"
    OUT = "out: strings, sequences, optionals, complex numbers"
    BEYOND = "out: float64 beyond what float32 holds"
    WRONG = "wrong"
    FOREIGN = "foreign error"


GOOD = (Outcome.PASSES, Outcome.FIXED)


@dataclass(frozen=True, eq=False)
class Case:
    """A network, what it is given and what ONNX says that it gives."""

    name: str
    kind: str
    model: onnx.ModelProto
    inputs: Sequence[object]
    outputs: Sequence[object]
    rtol: float

    def __str__(self) -> str:
        return self.name


def suite() -> Iterator[Case]:
    """Every case of the installed onnx that needs no download, by name once."""
    seen = set()
    with warnings.catch_warnings():
        # The suite computes what it expects with overflows and empty arrays.
        warnings.simplefilter("ignore")
        for each in collect_testcases(None):
            if each.model is not None and each.data_sets and each.name not in seen:
                seen.add(each.name)
                yield Case(each.name, "node", each.model, *each.data_sets[0], each.rtol)
    for kind in KINDS:
        for each in load_model_tests(kind=kind):
            folder = Path(str(each.model_dir))
            model = onnx.load(folder / "model.onnx")
            if each.name not in seen and (folder / "test_data_set_0").is_dir():
                seen.add(each.name)
                yield Case(each.name, kind, model, _stored(folder, "input"),
                           _stored(folder, "output"), each.rtol)


def _stored(folder: Path, what: str) -> list[object]:
    found: list[object] = []
    for k in range(len(list((folder / "test_data_set_0").glob(f"{what}_*.pb")))):
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString((folder / "test_data_set_0" / f"{what}_{k}.pb").read_bytes())
            found.append(numpy_helper.to_array(tensor))
        except Exception:  # noqa: BLE001 - a sequence in a tensor's place
            found.append(None)
    return found


def meaning(model: ir.Model, given: Mapping[str, Array]) -> Sequence[Array]:
    """What the network's meaning in NumPy gives, prepared as for compiling."""
    return list(evaluate(prepare(model), given).values())


def compiled(model: ir.Model, given: Mapping[str, Array]) -> Sequence[Array]:
    """What the unchecked C gives, without vectors, which compiles fastest."""
    session = gg.compile(model, check=False, isas=("scalar",)).session()
    made = session.run(*(given[port.name] for port in session.inputs))
    return made if isinstance(made, tuple) else (made,)


def answer(case: Case, run: Run = meaning) -> Outcome:
    """How the project answers: with nothing fixed first, then with what gives shapes."""
    arrays = [a if _is_tensor(a) else None for a in (*case.inputs, *case.outputs)]
    if any(a is None for a in arrays):
        return Outcome.OUT
    if any(map(_is_beyond, case.inputs)):
        return Outcome.BEYOND
    given = dict(zip((v.name for v in case.model.graph.input), map(np.asarray, case.inputs)))
    for values in ({}, *_choices(case.model, given)):
        try:
            found = _run(case, given, values, run)
        except GanglionError:
            continue
        except Exception:  # noqa: BLE001 - that there is none is what is asked
            return Outcome.FOREIGN
        if not all(map(partial(_alike, rtol=case.rtol), found, case.outputs)):
            return Outcome.WRONG
        return Outcome.FIXED if values else Outcome.PASSES
    return Outcome.REFUSED


def _run(case: Case, given: Mapping[str, Array], values: Mapping[str, Array], run: Run
         ) -> Sequence[Array]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "case.onnx"
        path.write_bytes(case.model.SerializeToString())
        model = gg.load(path, values=values)
    names = {v.name for v in model.graph.inputs}
    return run(model, {k: v for k, v in given.items() if k in names})


def _choices(model: onnx.ModelProto, given: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """The inputs of whole numbers behind the first; those and what else says a shape."""
    behind = {v.name for v in list(model.graph.input)[1:]}
    whole = {k: v for k, v in given.items() if k in behind and v.dtype.kind in "iub"}
    more = {k: v for k, v in given.items() if k in COUNTED or (v.dtype.kind in "iu" and not v.ndim)}
    if whole:
        yield whole
    if more.keys() - whole.keys():
        yield whole | more


def _is_tensor(array: object) -> bool:
    return isinstance(array, np.ndarray | np.generic) and (
        array.dtype.kind in NUMBERS or array.dtype.name == "bfloat16")


def _is_beyond(array: object) -> bool:
    """Whether a finite number is infinite once in float32, which floats become when read."""
    given = np.asarray(array)
    with np.errstate(over="ignore"):
        return given.dtype == np.float64 and bool(
            (np.isfinite(given) & ~np.isfinite(given.astype(np.float32))).any())


def _alike(found: Array, wanted: object, rtol: float) -> bool:
    right = np.asarray(wanted)
    loose = right.dtype.kind not in "iub" and right.dtype.itemsize < 4
    return found.shape == right.shape and np.allclose(
        found.astype(float), right.astype(float), rtol=2e-2 if loose else max(rtol, 1e-3),
        atol=2e-2 if loose else 1e-5, equal_nan=True)


def listed(path: Path) -> set[str]:
    """The names of cases in a list that a run wrote."""
    return set(path.read_text(encoding="utf-8").split())


def _write(path: Path, names: Iterable[str]) -> None:
    text = textwrap.fill(" ".join(sorted(names)), 100, break_on_hyphens=False,
                         break_long_words=False)
    path.write_text(text + "\n", encoding="utf-8")


def page(found: Mapping[Case, Outcome], built: Mapping[Case, Outcome]) -> str:
    """The table of the documentation."""
    kinds = ("node", *KINDS)
    counts = Counter((case.kind, outcome) for case, outcome in found.items())
    rows = [f"| {o.value} | " + " | ".join(str(counts[k, o]) for k in kinds) +
            f" | {sum(counts[k, o] for k in kinds)} |" for o in Outcome]
    in_c = Counter(case.kind for case, outcome in built.items() if outcome in GOOD)
    rows.insert(2, "| of these in C, too | " + " | ".join(str(in_c[k]) for k in kinds) +
                f" | {sum(in_c.values())} |")
    lost = ", ".join(f"`{c.name}`" for c, o in built.items() if o not in GOOD)
    refused = Counter(n.op_type for c, o in found.items() if o is Outcome.REFUSED
                      for n in c.model.graph.node if len(c.model.graph.node) == 1)
    names = ", ".join(f"{n} {k}" for n, k in sorted(refused.items(), key=lambda p: (-p[1], p[0])))
    return "\n".join([
        "# ONNX's own suite", "",
        f"Cases of `onnx.backend.test`, onnx {onnx.__version__}, through the Model's meaning in "
        "NumPy after the passes of `compile`, and what passes through the compiled C, unchecked "
        "(`tests/formats/onnx/test_suite.py` tries a sample of that). `python -m "
        "tests.support.onnx_suite` writes this page.", "",
        "| | " + " | ".join(kinds) + " | all |", "|---|" + "---|" * (len(kinds) + 1), *rows, "",
        "Fixed: axes, shapes, sizes and pads that the case gives as inputs, by `load(values=)`.",
        "", f"Refused in C alone: {lost}.", "",
        f"Refused cases of one operator: {names}.", ""])


def main() -> None:
    """Writes the page and the list."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {case: answer(case) for case in suite()}
        good = [case for case, outcome in found.items() if outcome in GOOD]
        built = {case: answer(case, compiled) for case in good}
    _write(PASSING, (case.name for case in good))
    _write(NOT_IN_C, (case.name for case, outcome in built.items() if outcome not in GOOD))
    PAGE.write_text(page(found, built), encoding="utf-8")


if __name__ == "__main__":
    main()
