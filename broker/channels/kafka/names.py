"""The names of topics and consumer groups: templates as Knative has them, and Kafka's rules."""

from __future__ import annotations

import re
from typing import Final

TOPIC: Final = "knative-broker-{{ .Namespace }}-{{ .Name }}"
GROUP: Final = "knative-trigger-{{ .Namespace }}-{{ .Name }}"

_PLACEHOLDER: Final = re.compile(r"\{\{\s*\.(Namespace|Name)\s*\}\}")
_LETTERS: Final = re.compile(r"[A-Za-z0-9._-]+")
_MOST_LETTERS: Final = 249


def filled(template: str, key: str) -> str:
    """Return the name that the template gives to ``namespace/name``."""
    namespace, _, name = key.partition("/")
    values = {"Namespace": namespace, "Name": name}
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def template_fault(template: str) -> str | None:
    """Return what is wrong with a template, whatever it is filled with, or None."""
    rest = _PLACEHOLDER.sub("", template)
    if "{{" in rest or "}}" in rest:
        return (
            f"{template!r} asks for what is not known here: only {{{{ .Namespace }}}} and "
            "{{ .Name }} are"
        )
    if "Name" not in _PLACEHOLDER.findall(template):
        return f"{template!r} has no {{{{ .Name }}}}, so all would have the same name"
    if rest and not _LETTERS.fullmatch(rest):
        return f"{template!r} gives names with other characters than a-z, A-Z, 0-9, '.', '_', '-'"
    return None


def topic_fault(name: str) -> str | None:
    """Return why no topic can have that name, or None."""
    if name in (".", "..") or len(name) > _MOST_LETTERS or not _LETTERS.fullmatch(name):
        return (
            f"{name!r} is no name of a topic: a-z, A-Z, 0-9, '.', '_' and '-', at most "
            f"{_MOST_LETTERS} of them, and not '.' or '..'"
        )
    return None
