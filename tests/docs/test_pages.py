"""The documentation is true: its code runs, its links lead somewhere, its tables are complete."""

import re

import pytest
from tests.support.pages import PAGES, PEERS, ROOT, blocks, run_blocks

LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
LANGUAGES = {"", "python", "sh", "c"}
"""What a fenced block may be: code that is run here, or plain text."""


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_whether_it_runs(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks(page))
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", [
    pytest.param(p, id=name_of(p), marks=[getattr(pytest.mark, PEERS[p.name])]
                 if p.name in PEERS else []) for p in PAGES if any(b.language for b in blocks(p))])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_readme_starts_with_the_two_commands():
    commands = [b.text.strip() for b in blocks(ROOT / "README.md") if b.language][:2]
    assert commands == ["make demo", "make test"]


def test_decisions_are_numbered_without_gaps_and_have_the_three_parts():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        heads = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert heads == ["Context", "Decision", "Consequences"], page.name
