"""What a source or a sink asks for by the names of its parameters, and what it says of itself."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from pydantic import BaseModel

from broker.errors import PluginNotFound

_GIVEN: Final = ("spec", "context")
"""What is given to all that ask for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What of the things given to it a plug-in takes, and its ``model`` and ``api_versions``."""

    taken: tuple[str, ...]
    model: type[Any] | None
    api_versions: tuple[str, ...]


def asked(loaded: object, origin: str, *, method: str, argument: str, api_version: str) -> Asked:
    """Return what ``loaded`` asks for: a class with that method, or a function of that argument.

    ``api_version`` is that of its kind where it names none. Raises `PluginNotFound`, which says
    what about ``origin`` keeps it from being used.
    """
    given: tuple[str, ...] = _GIVEN
    if inspect.iscoroutinefunction(loaded):
        given = (argument, *_GIVEN)
    elif not (
        inspect.isclass(loaded) and inspect.iscoroutinefunction(getattr(loaded, method, None))
    ):
        raise PluginNotFound(
            f"{origin} is neither a class with `async def {method}(self, {argument})` nor an "
            f"`async def` that takes `{argument}`"
        )
    taken = _taken(loaded, given, origin)
    if argument in given and argument not in taken:
        raise PluginNotFound(f"{origin} takes no `{argument}`, so it could never do anything")
    versions = getattr(loaded, "api_versions", api_version)
    return Asked(
        taken=taken,
        model=_model(loaded, origin) if "spec" in taken else None,
        api_versions=(versions,) if isinstance(versions, str) else tuple(versions),
    )


def _taken(loaded: Callable[..., object], given: tuple[str, ...], origin: str) -> tuple[str, ...]:
    parameters = inspect.signature(loaded).parameters.values()
    for each in parameters:
        optional = each.default is not each.empty or each.kind in (
            each.VAR_POSITIONAL,
            each.VAR_KEYWORD,
        )
        if each.kind is each.POSITIONAL_ONLY or (each.name not in given and not optional):
            raise PluginNotFound(
                f"{origin} asks for '{each.name}', which nobody gives it; it may take any of "
                f"{', '.join(given)}, by these names"
            )
    names = {each.name for each in parameters}
    return tuple(name for name in given if name in names)


def _model(loaded: object, origin: str) -> type[Any]:
    model = getattr(loaded, "Spec", None)
    if model is None:
        annotated = loaded.__init__ if inspect.isclass(loaded) else loaded
        try:
            model = get_type_hints(annotated).get("spec")
        except Exception as error:  # whatever stands in an annotation of somebody else's
            raise PluginNotFound(
                f"the annotations of {origin} cannot be read: {type(error).__name__}: {error}"
            ) from error
    if inspect.isclass(model) and (issubclass(model, BaseModel) or dataclasses.is_dataclass(model)):
        return model
    raise PluginNotFound(
        f"{origin} takes a `spec`, but neither the annotation of that nor `Spec` is a pydantic "
        "model or a dataclass"
    )
