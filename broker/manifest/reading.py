"""Reads an object into its shape, and says in plain words what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, Final, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from broker.errors import did_you_mean
from broker.manifest import annotations as notes
from broker.manifest.objects import Place
from broker.manifest.problems import Loc
from broker.manifest.shapes import KubernetesObject
from broker.manifest.yamltree import Json

M = TypeVar("M", bound=BaseModel)
Obj = TypeVar("Obj", bound=KubernetesObject)
T = TypeVar("T")

# Pydantic's names of errors → what to say; `{…}` are the values that it gives with them.
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "dataclass_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} item(s)",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "value_error": "{error}",
}
_NEEDS_QUOTES: Final = (bool, int, float)


def read_object(model: type[Obj], place: Place, value: Json = None) -> Obj | None:
    """Read an object, or ``value`` in its place, as `read` does, and check its metadata."""
    shape = read(model, place.object.value if value is None else value, place)
    if shape is not None:
        required(shape.metadata.name, place.at("metadata", "name"))
        notes.check_names(shape.metadata.annotations, place.at("metadata", "annotations"))
    return shape


def required(value: T | None, place: Place) -> T | None:
    """Return ``value``, and report that it is missing where it is None.

    What is missing because it was wrong has been reported at ``place``, or below, before.
    """
    if value is None:
        place.error("is missing")
    return value


def read(
    model: type[M],
    value: Json,
    place: Place,
    *,
    also_known: Iterable[str] = (),
    context: Mapping[str, object] | None = None,
) -> M | None:
    """Return ``value`` as a ``model``, and report at ``place`` everything that does not fit.

    Where something does not, what is returned is the rest, if that can stand alone: good to
    look for more problems in, never to be run. ``also_known`` are fields of ``value`` that
    were read elsewhere, ``context`` is what the model's validators get.
    """
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    locs = [_loc(fault) for fault in faults]
    for loc, fault in zip(locs, faults, strict=True):
        place.at(*loc).error(_message(model, loc, fault, also_known))
    # Just what is wrong is left out first; where the rest cannot do without, all around it.
    for depth in (None, 2):
        try:
            return model.model_validate(
                _without(value, [loc[:depth] for loc in locs]), context=context
            )
        except ValidationError:
            continue
    return None


def _loc(fault: ErrorDetails) -> Loc:
    return tuple(part for part in fault["loc"] if part != "[key]")


def _message(
    model: type[BaseModel], loc: Loc, fault: ErrorDetails, also_known: Iterable[str]
) -> str:
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = [*_fields_at(model, loc[:-1]), *(also_known if len(loc) == 1 else ())]
        return f"unknown field{did_you_mean(str(loc[-1]), known)}"
    words = _WORDS.get(fault["type"])
    message = fault["msg"] if words is None else words.format_map(fault.get("ctx", {}))
    if fault["type"] == "string_type" and isinstance(fault["input"], _NEEDS_QUOTES):
        message += ": put it in quotes"
    return message


def _fields_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Return the names of the fields that the mapping at ``loc`` of ``model`` may have."""
    current: type[Any] | None = _model_in(model)
    for part in loc:
        if isinstance(part, int) or current is None:
            continue  # an item has the model of its list
        current = _model_in(_members(current).get(str(part)))
    return [] if current is None else list(_members(current))


def _members(model: type[Any]) -> Mapping[str, object]:
    """Return field → annotation, of a pydantic model or a dataclass."""
    if issubclass(model, BaseModel):
        return {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    return get_type_hints(model)


def _model_in(annotation: object) -> type[Any] | None:
    if isinstance(annotation, type):
        if issubclass(annotation, RootModel):
            return _model_in(annotation.model_fields["root"].annotation)
        if issubclass(annotation, BaseModel) or is_dataclass(annotation):
            return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _without(value: Json, locs: Iterable[Loc]) -> Json:
    for loc in locs:
        value = _less(value, loc)
    return value


def _less(value: Json, loc: Loc) -> Json:
    """Return a copy of ``value`` that lacks the place ``loc``; items keep their indexes."""
    if not loc:
        return value
    first, rest = loc[0], loc[1:]
    if isinstance(value, dict) and isinstance(first, str) and first in value:
        if not any(isinstance(part, str) for part in rest):
            return {name: each for name, each in value.items() if name != first}
        return {**value, first: _less(value[first], rest)}
    if isinstance(value, list) and isinstance(first, int) and first < len(value):
        return [*value[:first], _less(value[first], rest), *value[first + 1 :]]
    return value
