"""Makes of a JSON schema the structural one that an API server takes.

Objects are open: the API server would take fields that it does not know away, and the mesh, which
refuses them and says what was meant, would never see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]

OPEN: Final = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"
_DEFINITIONS: Final = "#/$defs/"
_LEVELS: Final = 2  # of a shape within itself; what is below, the mesh alone looks at

# What is taken as it stands. `format` is not: durations and passwords mean something else there.
_KEPT: Final = (
    "type", "description", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "minItems", "maxItems", "minProperties", "maxProperties", "required",
)  # fmt: skip


def structural(schema: Mapping[str, Any]) -> Schema:
    """Return the structural schema of ``schema``, which has its definitions in itself."""
    return _Inliner(schema.get("$defs", {})).inlined(schema, ())


class _Inliner:
    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._definitions = definitions

    def inlined(self, schema: Mapping[str, Any], above: tuple[str, ...]) -> Schema:
        """Return ``schema`` with all that it refers to; ``above`` are the shapes that it is in."""
        name = schema.get("$ref", "").removeprefix(_DEFINITIONS)
        if not name:
            return self._made(schema, above)
        said = {key: value for key, value in schema.items() if key != "$ref"}
        if above.count(name) >= _LEVELS:
            return {"type": "object", OPEN: True, **said}
        return {**self._made(self._definitions[name], (*above, name)), **said}

    def _made(self, schema: Mapping[str, Any], above: tuple[str, ...]) -> Schema:
        made = {key: schema[key] for key in _KEPT if key in schema}
        if "const" in schema:
            made["enum"] = [schema["const"]]
        match schema.get("type"):
            case "object":
                either = {"anyOf": schema["anyOf"]} if "anyOf" in schema else {}
                return {**made, **either, **self._of_object(schema, above)}
            case "array":
                return {**made, "items": self.inlined(schema["items"], above)}
            case str():
                return made
        kinds = {each.get("type") for each in schema.get("anyOf", ())}
        return {**made, (_INT_OR_STRING if kinds == {"integer", "string"} else OPEN): True}

    def _of_object(self, schema: Mapping[str, Any], above: tuple[str, ...]) -> Schema:
        if "properties" in schema:
            return {
                "properties": {
                    name: self.inlined(each, above) for name, each in schema["properties"].items()
                },
                OPEN: True,
            }
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping):
            return {"additionalProperties": self.inlined(values, above)}
        return {OPEN: True}
