"""Compose files, put together and filled in as far as ours need it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, cast

import yaml

from tests.image.engine import ROOT

Node: TypeAlias = "str | int | float | bool | Mapping[str, Node] | Sequence[Node] | None"
Tree: TypeAlias = Mapping[str, Node]

_DEFAULTED: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")

FILES: Final[Mapping[str, Sequence[str]]] = {
    "embedded": ("compose.yaml",),
    "kafka": ("compose.yaml", "compose/kafka.yaml"),
    "rabbitmq": ("compose.yaml", "compose/rabbitmq.yaml"),
}
"""What each variant is put together from."""


def read(name: str) -> Tree:
    """Return a file with the defaults of its variables."""
    text = Path(ROOT, name).read_text()
    return cast("Tree", yaml.safe_load(_DEFAULTED.sub(lambda match: match[2], text)))


def variant(name: str) -> Tree:
    """Return the files of a variant as one; lists, which ours do not share, are not joined."""
    whole: Tree = {}
    for each in FILES[name]:
        whole = _merged(whole, read(each))
    return whole


def service(name: str, within: Tree) -> Tree:
    """Return what the file says of a service."""
    return mapping(mapping(within["services"])[name])


def mapping(node: Node) -> Tree:
    assert isinstance(node, Mapping), node
    return node


def words(node: Node) -> list[str]:
    """Return a list of texts, such as a command."""
    assert isinstance(node, Sequence), node
    assert not isinstance(node, str), f"{node} would be cut into words by a shell's rules"
    return [str(each) for each in node]


def _merged(one: Tree, other: Tree) -> Tree:
    result = dict(one)
    for name, value in other.items():
        known = result.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            result[name] = _merged(known, value)
        else:
            assert known is None, f"{name} is in both files"
            result[name] = value
    return result
