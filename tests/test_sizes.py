"""No file and no function grows beyond what can be read at once. What a function promises, its
signature and its docstring, does not count: for the public ones that is the documentation."""

import ast
from pathlib import Path

import pytest
from docs.rooms import FILES, SOURCE

FILE, FUNCTION = 400, 45


def statements(function: ast.FunctionDef) -> int:
    """The lines of the body, without the docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = function.body[1:] if documented else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_can_be_read_at_once(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE
    long = {f"{n.name}: {statements(n)}" for n in ast.walk(ast.parse(text))
            if isinstance(n, ast.FunctionDef) and statements(n) > FUNCTION}
    assert not long


def test_signature_and_docstring_do_not_count() -> None:
    tree = ast.parse('def f(\n    a,\n):\n    """One.\n\n    Two."""\n    b = a\n    return b\n')
    assert isinstance(tree.body[0], ast.FunctionDef)
    assert statements(tree.body[0]) == 2
