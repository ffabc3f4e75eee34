"""The table of the chart's values, docs/kubernetes-values.md, made of the comments in values.yaml.

`python -m charts.values_docs --write` writes it anew after a change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).with_name("cemesh")
PAGE: Final = Path(__file__).parent.parent / "docs" / "kubernetes-values.md"

_OPENING: Final = """\
# The values of the Helm chart

[How the chart is used](kubernetes.md). What is not listed here is refused, and so is a value of
another type.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value by its ``path`` from the top, what its comment says, and its default.

    A section has values in it, which have comments of their own, and no default.
    """

    path: tuple[str, ...]
    says: str
    default: object = None
    section: bool = False


class UncommentedValueError(ValueError):
    """A value has no comment above it; says which."""


def values(text: str) -> Sequence[Value]:
    """Return all values of ``text``, a values.yaml, in its order.

    A mapping of which no key has a comment is one value. Raises UncommentedValueError.
    """
    return [*_values(yaml.compose(text, yaml.SafeLoader), text.splitlines(), ())]


def page(found: Sequence[Value]) -> str:
    """Return the page about them, in Markdown: a table for each section."""
    top = [value for value in found if len(value.path) == 1 and not value.section]
    parts = [_OPENING + _table(top)]
    for section in found:
        if section.section and len(section.path) == 1:
            name = section.path[0]
            rows = [value for value in found if value.path[0] == name and len(value.path) > 1]
            parts.append(f"## {name}\n\n{section.says}\n\n{_table(rows)}")
    return "\n".join(parts)


def _values(node: yaml.Node | None, lines: Sequence[str], path: tuple[str, ...]) -> Iterator[Value]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, content in node.value:
        here = (*path, key.value)
        says = _comment(lines, key.start_mark.line)
        if not says:
            raise UncommentedValueError(".".join(here))
        if _is_section(content, lines):
            yield Value(path=here, says=says, section=True)
            yield from _values(content, lines, here)
        else:
            yield Value(path=here, says=says, default=_plain(content))


def _is_section(node: yaml.Node, lines: Sequence[str]) -> bool:
    return isinstance(node, yaml.MappingNode) and any(
        _comment(lines, key.start_mark.line) for key, _ in node.value
    )


def _comment(lines: Sequence[str], line: int) -> str:
    """Return what is said right above a line, up to a blank one."""
    said = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        said.append(lines[line].strip().removeprefix("#").strip())
    return " ".join(reversed(said))


def _plain(node: yaml.Node) -> Any:  # noqa: ANN401  # what YAML may have
    return yaml.SafeLoader("").construct_document(node)


def _table(rows: Sequence[Value]) -> str:
    lines = ["| value | default | what it says |", "|---|---|---|", *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(value: Value) -> str:
    default = "" if value.section else f"`{json.dumps(value.default, ensure_ascii=False)}`"
    cells = (f"`{'.'.join(value.path)}`", default, value.says)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    made = page(values((CHART / "values.yaml").read_text()))
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(made)
    else:
        sys.stdout.write(made)
