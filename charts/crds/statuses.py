"""What the status of an object has in it, as Knative's have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from charts.crds.kinds import Kind, Sort
from charts.crds.structural import OPEN, Schema


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


_ADDRESS: Final[Schema] = {
    "type": "object",
    "description": "Where events are posted to it.",
    "properties": {
        "name": _text("What the address is called: `http` or `https`."),
        "url": _text("The URL."),
        "CACerts": _text("The certificate authorities to trust, in PEM."),
        "audience": _text("Whom tokens that are shown there have to be for."),
    },
    OPEN: True,
}
_CONDITIONS: Final[Schema] = {
    "type": "array",
    "description": "What is true of it. `Ready` sums the others up.",
    "items": {
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": _text("What it is about."),
            "status": _text("`True`, `False` or `Unknown`."),
            "reason": _text("Why it is not true, in a word."),
            "message": _text("Why it is not true."),
            "severity": _text("Nothing, unless less than an error."),
            "lastTransitionTime": _text("Since when, in RFC 3339."),
        },
        OPEN: True,
    },
}
_ALL: Final[Mapping[str, Schema]] = {
    "observedGeneration": {
        "type": "integer",
        "format": "int64",
        "description": "The `metadata.generation` that the mesh runs, or has refused.",
    },
    "conditions": _CONDITIONS,
    "annotations": {
        "type": "object",
        "description": "More about it.",
        "additionalProperties": {"type": "string"},
    },
}
_DEAD_LETTERS: Final = {"deadLetterSinkUri": _text("Where events go that are given up.")}
_MORE: Final[Mapping[Sort, Mapping[str, Schema]]] = {
    "broker": {
        "address": _ADDRESS,
        "addresses": {
            "type": "array",
            "description": "Each of the addresses, where there are several.",
            "items": _ADDRESS,
        },
        **_DEAD_LETTERS,
    },
    "trigger": {"subscriberUri": _text("Where its events go."), **_DEAD_LETTERS},
    "source": {
        "sinkUri": _text("Where its events go."),
        "ceAttributes": {
            "type": "array",
            "description": "What events it emits, as far as that can be known.",
            "items": {
                "type": "object",
                "properties": {
                    "type": _text("The type of events."),
                    "source": _text("The source of events."),
                },
                OPEN: True,
            },
        },
    },
}


def status(kind: Kind) -> Schema:
    """Return the schema of the statuses of that kind."""
    return {
        "type": "object",
        "description": "What the mesh has made of it. It is written by the mesh alone.",
        "properties": {**_ALL, **_MORE.get(kind.sort, {})},
        OPEN: True,
    }
