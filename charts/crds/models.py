"""What pydantic says of the shapes of manifests, in terms of what stands in a file.

A field that is read by a validator of its own is described by what that takes, as listed here. One
that is not listed is open: what is wrong there, the mesh says, and not the API server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from broker.manifest.durations import Duration, PositiveDuration
from broker.manifest.policyshapes import Bytes
from broker.manifest.shapes import Destination, FilterItem, Parsed, Shape
from broker.manifest.specs import PlainOrSecretText, SecretText
from broker.programs import PodTemplate
from charts.crds.words import WORDS
from sinks.kafka.auth import NetOfSecret
from sources.ping import PingSpec


def _named(**properties: str) -> JsonSchemaValue:
    fields = {name: {"type": "string", "description": text} for name, text in properties.items()}
    return {"type": "object", "required": [*fields], "properties": fields}


def _with(name: str, inner: JsonSchemaValue) -> JsonSchemaValue:
    return {"type": "object", "required": [name], "properties": {name: inner}}


_DURATION: Final[JsonSchemaValue] = {
    "type": "string",
    # Of what matches and is none, such as P, the mesh says that it is none.
    "pattern": r"^P([0-9]+W)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+([.,][0-9]+)?S)?)?$",
}
_SECRET: Final = _with(
    "secretKeyRef",
    _named(name="The name of a Secret in the same namespace.", key="The key in it."),
)
_PLAIN_OR_SECRET: Final[JsonSchemaValue] = {"anyOf": [{"type": "string"}, _SECRET]}
_QUANTITY: Final[JsonSchemaValue] = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
_NAMED_SECRET: Final = _with(
    "secret", _with("ref", _named(name="The name of a Secret in the same namespace."))
)


def _reader(annotated: object) -> object:
    """Return the function that fields of that type are read by."""
    [found] = [each.func for each in get_args(annotated)[1:] if hasattr(each, "func")]
    return found


def _method(found: object) -> object:
    """Return the function of a method of a class, which is bound to the class that inherits it."""
    return getattr(found, "__func__", found)


_READ_BY: Final[Mapping[object, JsonSchemaValue]] = {
    _reader(Duration): _DURATION,
    _reader(PositiveDuration): _DURATION,
    _reader(Bytes): _QUANTITY,
    _reader(Parsed): {"type": "string"},
    _reader(SecretText): _SECRET,
    _reader(PlainOrSecretText): _PLAIN_OR_SECRET,
    _reader(NetOfSecret): _NAMED_SECRET,
    _method(PingSpec._decoded): {"type": "string"},
}
_LOOKS_FOR_NULL: Final = _method(Shape._null_is_absent)

# A pod of a cluster may say more than a program of this machine is told.
_OPEN: Final[Mapping[type[Any], JsonSchemaValue]] = {
    PodTemplate: {"type": "object", "description": "The template of a pod, as Kubernetes has it."}
}

_AND: Final[Mapping[type[Any], JsonSchemaValue]] = {
    Destination: {"anyOf": [{"required": ["ref"]}, {"required": ["uri"]}]},
    FilterItem: {"minProperties": 1, "maxProperties": 1},
}
"""Shape → what its own validator asks for, of what a schema can."""


class _Generator(GenerateJsonSchema):
    """Leaves out defaults, which are the mesh's to give, and null, which is as good as absent."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        method = _method(schema["function"]["function"])
        if method is _LOOKS_FOR_NULL:
            return self.generate_inner(schema["schema"])
        return dict(_READ_BY.get(method, {}))

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model = schema["cls"]
        if model in _OPEN:
            return dict(_OPEN[model])
        found = {**super().model_schema(schema), **_AND.get(model, {})}
        for base in reversed(model.__mro__):
            for name, text in WORDS.get(base, {}).items():
                # Beside a `$ref`, too: what a field is for goes before what its shape is.
                found["properties"][name]["description"] = text
        if model.__doc__ is not None:
            found["description"] = _in_terms_of_fields(model.__doc__)
        return found


def _in_terms_of_fields(docstring: str) -> str:
    """Return the text with names of fields as a manifest has them."""
    text = " ".join(docstring.split())
    return re.sub(r"``([^`]+)``", lambda found: f"`{to_camel(found[1])}`", text)


def json_schema(model: type[BaseModel]) -> JsonSchemaValue:
    """Return the JSON schema of what a manifest may say to ``model``."""
    return TypeAdapter(model).json_schema(schema_generator=_Generator)
