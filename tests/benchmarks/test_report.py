"""The tables that a run prints."""

from benchmarks.report import cell, differences, skipped, table


def test_every_line_of_a_table_has_the_same_cells() -> None:
    text = table(["a", "b", "c"], [["x", "1", "2"], ["y", "3", "4"]])
    assert {line.count("|") for line in text.splitlines()} == {4}


def test_a_missing_figure_is_shown_as_a_dash() -> None:
    assert cell(None) == "–"
    assert differences({"difference": {}}) == "–"


def test_networks_and_peers_left_out_are_named_with_the_reason() -> None:
    text = skipped({"networks": [{"name": "net", "skipped": "no file"},
                                 {"name": "other", "us": {}, "refused": {"peer": "bad operator"}}]})
    assert "net: not measured, no file" in text
    assert "other: peer left out, bad operator" in text
