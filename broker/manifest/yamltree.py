"""Reads YAML into plain values that remember their lines.

The tree is built from the parser's events, not from its nodes: its own composer recurses in
C, where a few kilobytes of ``[`` end the process, and says nothing of duplicate keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from broker.errors import Problem
from broker.manifest.problems import Loc, Report, path_text
from broker.manifest.scalars import Scalar, plain

Json = Scalar | list["Json"] | dict[str, "Json"]

MAX_DEPTH: Final = 100
MAX_EXPANDED: Final = 100_000
"""Values that the aliases of one file may add: real ones add dozens, a bomb billions."""

# What YAML 1.1 allows in a stream, section 5.1.
_FORBIDDEN: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_KNOWN_TAGS: Final = frozenset(
    {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
)
_MERGE: Final = "<<"


@dataclass(slots=True, eq=False)
class Tree:
    """A mapping or a list: its value, and for each field or item its line and own tree.

    ``size`` counts the values in it, ``height`` the levels; aliases count as what they name.
    """

    value: Json
    members: dict[str | int, tuple[int, Tree | None]] = field(default_factory=dict)
    size: int = 1
    height: int = 1

    def add(self, name: str | int, line: int, child: Tree | None) -> None:
        """Take in the field or item ``name``."""
        self.members[name] = (line, child)
        if child is None:
            self.size += 1
        else:
            self.size += child.size
            self.height = max(self.height, child.height + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One YAML document. Lines are counted from 1; a field's line is where its name stands.

    What stands in no file has no ``file`` and no lines.
    """

    file: Path | None
    first_line: int | None
    value: Json
    tree: Tree | None

    def line(self, loc: Loc) -> int | None:
        """Return the line of the place, or of the closest one above it that exists."""
        line, tree = self.first_line, self.tree
        for part in loc:
            found = None if tree is None else tree.members.get(part)
            if found is None:
                break
            line, tree = found
        return line


def read_documents(file: Path, content: bytes, report: Report) -> list[Document]:
    """Return the documents of a file that are not empty; what is wrong goes to ``report``.

    Where the file cannot be read to its end, what came before is returned.
    """
    documents: list[Document] = []
    try:
        for document in _Composer(file, _decoded(content), report).documents():
            if document.value is not None:
                documents.append(document)  # noqa: PERF401 - those before an error are kept
    except _Unreadable as error:
        report.complete = False
        report.add(Problem(file=file, line=error.line, message=error.message))
    return documents


class _Unreadable(Exception):
    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def _decoded(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Unreadable(line, f"not UTF-8 text: {error.reason}") from None
    if not text.strip():
        raise _Unreadable(None, "the file is empty")
    found = _FORBIDDEN.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise _Unreadable(line, f"YAML text cannot contain U+{ord(found[0]):04X}")
    return text


class _Composer:
    """Builds the trees of one file."""

    def __init__(self, file: Path, text: str, report: Report) -> None:
        self._file = file
        self._report = report
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._anchors: dict[str, tuple[Json, Tree | None]] = {}
        self._expanded = 0

    def documents(self) -> Iterator[Document]:
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                root = self._next()
                value, tree = self._node(root, ())
                yield Document(self._file, _line(root), value, tree)

    def _next(self) -> yaml.Event:
        try:
            return next(self._events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            context = f" ({error.context})" if error.context else ""
            raise _Unreadable(
                None if mark is None else mark.line + 1, f"not valid YAML: {error.problem}{context}"
            ) from None
        except yaml.YAMLError as error:
            raise _Unreadable(None, f"not valid YAML: {error}") from None

    def _node(self, event: yaml.Event, loc: Loc) -> tuple[Json, Tree | None]:
        tree: Tree | None = None
        match event:
            case yaml.AliasEvent():
                return self._alias(event, loc)
            case yaml.ScalarEvent():
                value: Json = self._scalar(event)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if len(loc) >= MAX_DEPTH:
                    raise _Unreadable(_line(event), f"nested more than {MAX_DEPTH} levels deep")
                is_list = isinstance(event, yaml.SequenceStartEvent)
                tree = self._list(loc) if is_list else self._mapping(loc)
                value = tree.value
            case _:
                raise _Unreadable(_line(event), "not valid YAML")
        if event.tag not in _KNOWN_TAGS:
            # The tag is not told: a password that starts with '!' looks like one.
            self._wrong(
                event,
                loc,
                "YAML tags are not supported; text that starts with '!' belongs in quotes",
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, tree)
        return value, tree

    def _alias(self, event: yaml.AliasEvent, loc: Loc) -> tuple[Json, Tree | None]:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            # The name is not told, for the same reason.
            raise _Unreadable(
                _line(event),
                "an alias to nothing that stands above it; text that starts with '*' belongs in "
                "quotes",
            )
        size, height = (1, 0) if node[1] is None else (node[1].size, node[1].height)
        if len(loc) + height > MAX_DEPTH:
            raise _Unreadable(_line(event), f"nested more than {MAX_DEPTH} levels deep")
        self._expanded += size
        if self._expanded > MAX_EXPANDED:
            raise _Unreadable(_line(event), f"aliases expand to more than {MAX_EXPANDED:,} values")
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        is_plain = event.implicit[0] and event.tag is None
        return plain(event.value) if is_plain else str(event.value)

    def _list(self, loc: Loc) -> Tree:
        items: list[Json] = []
        tree = Tree(items)
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            value, child = self._node(event, (*loc, len(items)))
            tree.add(len(items), _line(event), child)
            items.append(value)
        return tree

    def _mapping(self, loc: Loc) -> Tree:
        fields: dict[str, Json] = {}
        tree = Tree(fields)
        merged: list[tuple[dict[str, Json], Tree]] = []
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise _Unreadable(_line(key), "the name of a field is not plain text")
            name = key.value
            value, child = self._node(self._next(), (*loc, name))
            if name == _MERGE and key.implicit[0]:
                merged += self._merged(key, loc, child)
            elif name in fields:
                first = tree.members[name][0]
                self._wrong(key, (*loc, name), f"given twice; first in line {first}")
            else:
                fields[name] = value
                tree.add(name, _line(key), child)
        for values, other in merged:
            for name, value in values.items():
                if name not in fields:
                    fields[name] = value
                    tree.add(name, *other.members[name])
        return tree

    def _merged(
        self, key: yaml.Event, loc: Loc, child: Tree | None
    ) -> list[tuple[dict[str, Json], Tree]]:
        """Return the mappings that ``<<`` names, the one that wins first."""
        children = [child]
        if child is not None and isinstance(child.value, list):
            children = [member for _, member in child.members.values()]
        mappings = [
            (each.value, each) for each in children if each and isinstance(each.value, dict)
        ]
        if len(mappings) != len(children):
            self._wrong(key, loc, "'<<' takes a mapping or a list of mappings")
        return mappings

    def _wrong(self, event: yaml.Event, loc: Loc, message: str) -> None:
        self._report.add(
            Problem(file=self._file, line=_line(event), path=path_text(loc), message=message)
        )


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1
