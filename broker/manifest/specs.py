"""Reads what a manifest says to a plug-in, by the plug-in's own model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, RootModel, SecretStr, ValidationInfo

from broker.errors import did_you_mean
from broker.manifest.objects import Place
from broker.manifest.reading import read
from broker.manifest.yamltree import Json

Reveal = Callable[[str, str], str]
"""Return the value of a Secret, by its name and key; raises `ValueError` where there is none."""

_SECRETS: Final = "cemesh.secrets"
_REFERENCE: Final = "secretKeyRef: {name: …, key: …}, of a Secret in these files"


def revealing(info: ValidationInfo) -> Reveal | None:
    """Return how a validator of a field reads Secrets, or None outside of a manifest."""
    found: Reveal | None = None if info.context is None else info.context.get(_SECRETS)
    return found


def _revealed(value: object, info: ValidationInfo) -> object:
    reveal = revealing(info)
    if reveal is None:
        return value
    match value:
        case {"secretKeyRef": {"name": str(name), "key": str(key), **others}, **more}:
            if others or more:
                raise ValueError(f"must be no more than {_REFERENCE}")
            return reveal(name, key)
        case _:
            raise ValueError(f"must be {_REFERENCE}; it does not stand here itself")


SecretText = Annotated[SecretStr, BeforeValidator(_revealed)]
"""A field whose value a manifest takes from a Secret: ``{secretKeyRef: {name: …, key: …}}``.

Outside of a manifest, in a test say, it takes plain text. No `repr` shows it.
"""


def _plain_or_revealed(value: object, info: ValidationInfo) -> object:
    match value:
        case str():
            return value
        case dict():
            return _revealed(value, info)
    raise ValueError("must be a string, or {secretKeyRef: {name: …, key: …}}; numbers need quotes")


PlainOrSecretText = Annotated[SecretStr, BeforeValidator(_plain_or_revealed)]
"""A field whose value may also stand in the manifest itself, where it is no secret."""


def revealed(text: SecretStr | None) -> str | None:
    return None if text is None else text.get_secret_value()


def read_spec(
    model: type[Any] | None,
    value: dict[str, Json],
    place: Place,
    *,
    reveal: Reveal,
    also_known: Collection[str],
) -> tuple[object] | None:
    """Return ``value`` as a ``model``, or report at ``place`` everything that does not fit.

    It is returned in a tuple, as it may be None itself. ``model`` is a pydantic model, a
    dataclass, or None where nothing is to be said, which makes None. A field that it does not know
    is an error, even to a model that would ignore it. ``also_known`` are fields that were read
    elsewhere.
    """
    if model is None:
        _refuse_unknown(value, (), place, also_known)
        return None if value else (None,)
    context = {_SECRETS: reveal}
    known = len(place.report.errors)
    if issubclass(model, BaseModel):
        found: object = read(model, value, place, also_known=also_known, context=context)
        if model.model_config.get("extra", "ignore") == "ignore":
            _refuse_unknown(value, _names(model), place, also_known)
    else:
        _forbid_unknown(model)
        read_as = RootModel[model]  # type: ignore[valid-type]  # which is known only now
        root = read(read_as, value, place, also_known=also_known, context=context)
        found = None if root is None else root.root
    return None if found is None or len(place.report.errors) > known else (found,)


def _names(model: type[BaseModel]) -> Collection[str]:
    """Return all the names that a mapping may call the fields by."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names |= {name} if field.alias is None else {name, field.alias}
    return names


def _refuse_unknown(
    value: Mapping[str, Json], names: Collection[str], place: Place, also_known: Collection[str]
) -> None:
    for name in value:
        if name not in names:
            place.at(name).error(f"unknown field{did_you_mean(name, [*names, *also_known])}")


def _forbid_unknown(model: type[Any]) -> None:
    """Let pydantic refuse fields that a dataclass, or one within it, does not have."""
    if "__pydantic_config__" not in vars(model):
        model.__pydantic_config__ = ConfigDict(extra="forbid")
