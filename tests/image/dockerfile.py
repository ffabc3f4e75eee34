"""A Dockerfile, as far as ours goes: what it does not know is refused, and nothing is guessed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_TEXTS: Final = {
    "EXPOSE": "ports",
    "STOPSIGNAL": "stop_signal",
    "USER": "user",
    "WORKDIR": "folder",
}

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Of a file or folder: from the context, or from the stage of that name."""

    sources: Sequence[str]
    to: str
    stage: str | None
    owner: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Of a command without a shell, with the arguments that are declared before it."""

    command: Sequence[str]
    arguments: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage: its steps in their order, and what the image that it makes says of itself."""

    name: str
    base: str
    steps: list[tuple[str, Copy | Run]] = field(default_factory=list)
    """Each with the folder that it is done in."""
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ports: str = ""
    user: str = "0:0"
    stop_signal: str = "SIGTERM"
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()


def read(text: str) -> list[Stage]:
    """Return the stages; raise ValueError for an instruction that is not known here."""
    stages: list[Stage] = []
    first: dict[str, str] = {}
    arguments = first
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        if word == "ARG":
            name, _, default = rest.partition("=")
            arguments[name] = default
        elif word == "FROM":
            base, *named = rest.split()
            name = named[1] if named else f"{len(stages)}"
            stages.append(Stage(name=name, base=_expanded(base, first)))
            arguments = {}
        else:
            _take(stages[-1], word, rest, arguments)
    return stages


def _lines(text: str) -> list[str]:
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(kept).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def _take(stage: Stage, word: str, rest: str, arguments: Mapping[str, str]) -> None:
    match word:
        case "COPY":
            stage.steps.append((stage.folder, _copy(rest)))
        case "RUN":
            run = Run(command=_exec_form(word, rest), arguments=dict(arguments))
            stage.steps.append((stage.folder, run))
        case "ENV":
            stage.environment |= _pairs(rest, arguments)
        case "LABEL":
            stage.labels |= _pairs(rest, arguments)
        case "ENTRYPOINT":
            stage.entrypoint = _exec_form(word, rest)
        case "CMD":
            stage.command = _exec_form(word, rest)
        case _ if word in _TEXTS:
            setattr(stage, _TEXTS[word], rest)
        case _:
            raise ValueError(f"{word} is not known here")


def _copy(rest: str) -> Copy:
    words = rest.split()
    given = (each[2:].partition("=") for each in words if each.startswith("--"))
    options = {name: value for name, _, value in given}
    *sources, to = [each for each in words if not each.startswith("--")]
    if unknown := options.keys() - {"from", "chown"}:
        raise ValueError(f"COPY has {sorted(unknown)}, which is not known here")
    return Copy(sources=sources, to=to, stage=options.get("from"), owner=options.get("chown"))


def _exec_form(word: str, rest: str) -> list[str]:
    if not rest.startswith("["):
        raise ValueError(f"{word} {rest} is run by a shell, which takes no signals: use [...]")
    return [str(each) for each in json.loads(rest)]


def _pairs(rest: str, arguments: Mapping[str, str]) -> dict[str, str]:
    pairs = (each.partition("=") for each in shlex.split(rest))
    return {name: _expanded(value, arguments) for name, _, value in pairs}


def _expanded(text: str, arguments: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: arguments[match[1]], text)
