"""What is known about an operator stands in its row: outside `ops` and `formats` nothing is decided
by an operator's name, and `named` holds the few rows that rewrites are about."""

import ast
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from docs.rooms import FILES, SOURCE, room_of

from ganglion.ops import named
from ganglion.ops.base import Op
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.registry import rows

NAMES = {name for _, name in rows()} | {s.name for s in onnx.defs.get_all_schemas()}
BUILDERS = {"op", "ops", "node", "Node", "own", "insert", "_convolved"}
"""Calls that make a node: to write a graph down is to name its operators."""
WORDS = {"ops", "formats", "layers"}
"""`formats` maps the names of files, `layers` those of Keras, to operators."""


def made(tree: ast.AST) -> Iterator[ast.AST]:
    """The arguments of calls that make a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else \
                node.func.id if isinstance(node.func, ast.Name) else ""
            if name in BUILDERS:
                yield from (inner for given in node.args for inner in ast.walk(given))


def exported(tree: ast.Module) -> Iterator[ast.AST]:
    """What a module hands out: names of classes, which may be called as an operator is."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in (
                "__all__", "PUBLIC"):
            yield from ast.walk(statement.value)


def decided_by(source: str) -> list[str]:
    """The operators' names among a file's texts, those of nodes that it makes left out."""
    tree = ast.parse(source)
    left_out = {id(node) for node in (*made(tree), *exported(tree))}
    return [f"{node.lineno}: {node.value}" for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and node.value in NAMES and id(node) not in left_out]


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) not in WORDS],
                         ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_outside_decides_by_an_operators_name(path: Path) -> None:
    assert decided_by(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("source", "count"), [
    ('node.op_type == "Conv"', 1), ('KEPT = ("Conv", "Gemm")', 2), ('{"Relu": 1}', 1),
    ('g.op("Conv", x)', 0), ('__all__ = ["Add"]', 0), ('"Convolution"', 0)])
def test_the_law_sees_lists_and_comparisons_and_lets_nodes_be_made(source: str, count: int) -> None:
    assert len(decided_by(source)) == count


def test_every_named_row_is_used_and_is_a_row() -> None:
    found = {name: row for name, row in vars(named).items() if isinstance(row, Op)}
    text = "\n".join(p.read_text(encoding="utf-8") for p in FILES if p.stem != "named")
    assert found
    for name, row in found.items():
        assert rows()[row.key] is row
        assert name in text, f"nothing uses named.{name}"


def test_is_op_goes_by_domain_and_name() -> None:
    g = GraphBuilder("net")
    y = g.op("Relu", g.input("x", ir.DataType.FLOAT, (2,)))
    assert is_op(y.producer(), named.ADD, named.RELU)
    assert not is_op(y.producer(), named.ADD)
    assert not is_op(None, named.ADD)
