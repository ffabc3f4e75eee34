"""What the documentation shows is what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.pages import as_run, is_run

PAGES = sorted(page for page in Path("docs").rglob("*.md") if is_run(page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_shows_what_its_commands_print(page: Path, tmp_path: Path) -> None:
    shown = page.read_text()

    assert as_run(shown, tmp_path) == shown, f"python -m tests.services.pages --write {page}"


def test_every_dialect_has_a_page_that_is_run() -> None:
    dialects = ("exact", "prefix", "suffix", "all", "any", "not", "cesql", "attributes")

    assert {Path("docs", "filters", f"{name}.md") for name in dialects} <= set(PAGES)
