"""What the pages on monitoring tell people to run and to read is there."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from broker.cli.root import cli

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "monitoring.md", *sorted((DOCS / "runbooks").glob("*.md"))]
BOARDS = Path(__file__).parents[2] / "charts" / "dashboards"


def commands() -> Iterator[str]:
    """Yield what is named as a command of cemesh on the pages, and in the dashboards."""
    for file in (*PAGES, *BOARDS.glob("*.json")):
        yield from re.findall(r"`(cemesh [a-z][^`]*)`", file.read_text())


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_is_one_that_there_is(command: str) -> None:
    _, *words = shlex.split(command)
    at: click.Command = cli
    while isinstance(at, click.Group) and words:
        found = at.get_command(click.Context(at), words.pop(0))
        assert found is not None, "there is no such command"
        at = found
    options = {name: each for each in at.params for name in each.opts}

    assert {word for word in words if word.startswith("-")} <= options.keys()
    for name, value in itertools.pairwise(words):
        kind = options[name].type if name in options else None
        assert not isinstance(kind, click.Choice) or value in kind.choices, (name, value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, place = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), link
        titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
        places = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in titles}
        assert not place or place in places, link


@pytest.mark.parametrize("page", [each for each in PAGES if each.name.startswith("Cemesh")])
def test_a_runbook_answers_the_same_questions(page: Path) -> None:
    text = page.read_text()

    assert text.startswith(f"# {page.stem}\n")
    assert "**Users see**" in text
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Look at this first",
        "How to mend it",
        "When it is a false alarm",
    ]
