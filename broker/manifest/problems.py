"""Collects what is wrong with the manifests, so that everything is said at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from broker.errors import Problem

Loc = tuple[str | int, ...]
"""A place in an object: the names of fields and the indexes of items that lead there."""

_PLAIN_FIELD: Final = re.compile(r"[A-Za-z0-9_-]+")


def path_text(loc: Loc) -> str:
    """Return the place as people write it: ``spec.filters[0].exact``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_FIELD.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


class Report:
    """The problems found so far, of all files.

    ``complete`` turns False once a file could not be read to its end: what is missing from
    the files may then stand in that one. ``where`` is what is said of where objects are looked for.
    """

    def __init__(self, *, where: str = "these files") -> None:
        self.complete = True
        self.where = where
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []
        self._places: dict[object, list[Loc]] = {}

    def add(self, problem: Problem) -> None:
        """Take in a problem as it is. A warning is told once, whoever runs into it."""
        if problem.severity == "error":
            self._errors.append(problem)
        elif problem not in self._warnings:
            self._warnings.append(problem)

    def reads(self, reader: object) -> None:
        """Take note that what comes next is found out about what ``reader`` asks for.

        Whose fault it is that a Secret has not got what is wanted of it, its own or the reader's,
        means nothing in files: who gives the one gives the other.
        """

    def add_at(self, owner: object, loc: Loc, problem: Problem) -> None:
        """Take in an error at ``loc`` of ``owner``, unless one stands there already.

        An error above or below another one is mostly its consequence: a destination whose
        ``uri`` is no text has no ``uri``.
        """
        places = self._places.setdefault(owner, [])
        if any(loc[: len(each)] == each[: len(loc)] for each in places):
            return
        places.append(loc)
        self.add(problem)

    @property
    def errors(self) -> Sequence[Problem]:
        return tuple(self._errors)

    @property
    def warnings(self) -> Sequence[Problem]:
        return tuple(self._warnings)
