"""Reads what an object says to its plug-in: the one of its kind, or the one that it names."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from broker.errors import PluginNotFound
from broker.manifest.credentials import SecretReader
from broker.manifest.objects import Place
from broker.manifest.specs import read_spec
from broker.manifest.yamltree import Json

_CLASS: Final = "class"
_AT: Final = "module:Name, of a class or a coroutine function"


class Modelled(Protocol):
    """A plug-in, as far as its model is concerned."""

    @property
    def model(self) -> type[Any] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSpec:
    """``spec`` as the plug-in reads it; ``at`` is ``spec.class`` of an object that names one."""

    spec: object
    at: str | None


def own_spec(
    own: dict[str, Json],
    place: Place,
    secrets: SecretReader,
    *,
    find: Callable[[str, str | None], Modelled],
    by_class: str,
    common: Collection[str] = (),
) -> OwnSpec | None:
    """Return the spec of the object at ``place``, or None; report what is wrong.

    ``own`` is that spec without the fields in ``common``. ``find`` returns the plug-in of a kind,
    or at a place, or raises `PluginNotFound`; objects of the kind ``by_class`` name theirs.
    """
    at_spec = place.at("spec")
    at: str | None = None
    if place.object.kind == by_class:
        named = own.get(_CLASS)
        own = {name: each for name, each in own.items() if name != _CLASS}
        common = (*common, _CLASS)
        if not isinstance(named, str):
            fault = "is missing" if named is None else "must be a string"
            at_spec.at(_CLASS).error(f"{fault}: {_AT}")
            return None
        at = named
    try:
        plugin = find(place.object.kind, at)
    except PluginNotFound as error:
        (place.at("kind") if at is None else at_spec.at(_CLASS)).error(str(error))
        return None
    reveal = partial(secrets.reveal, namespace=place.object.namespace)
    found = read_spec(plugin.model, own, at_spec, reveal=reveal, also_known=common)
    return None if found is None else OwnSpec(spec=found[0], at=at)
