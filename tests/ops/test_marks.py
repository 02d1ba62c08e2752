"""Keys of metadata stand in one file."""

import ast

from docs.rooms import FILES, SOURCE

from ganglion.ops import marks

KEYS = {value for name, value in vars(marks).items() if name.isupper()}


def test_keys_of_metadata_are_written_in_one_file() -> None:
    home = SOURCE / "ops" / "marks.py"
    for path in set(FILES) - {home}:
        written = {node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                   if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not written & KEYS, path


def test_no_two_marks_share_a_key() -> None:
    assert len(KEYS) == sum(name.isupper() for name in vars(marks))
