"""What an ApiServerSource's ``spec`` says beside its sink, in Knative's words."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from broker.manifest.shapes import FilterItem, Shape

_VERSION: Final = re.compile(r"(?:[a-z0-9.-]+/)?[a-z0-9]+")
_KIND: Final = re.compile(r"[A-Za-z0-9]+")
_WORD: Final = re.compile(r"[A-Za-z0-9._/-]*")


def _api_version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise ValueError(f"'{text}' is no apiVersion, like v1 or apps/v1")
    return text


def _kind(text: str) -> str:
    if not _KIND.fullmatch(text):
        raise ValueError(f"'{text}' is no kind, like Pod")
    return text


def _word(text: str) -> str:
    # In a query, what is none would say something else than what was meant.
    if not _WORD.fullmatch(text):
        raise ValueError(f"'{text}' can be in no label: A-Z, a-z, 0-9, '-', '_', '.' and '/'")
    return text


ApiVersion = Annotated[str, AfterValidator(_api_version)]
Kind = Annotated[str, AfterValidator(_kind)]
Word = Annotated[str, AfterValidator(_word)]


class Expression(Shape):
    """One of ``matchExpressions``."""

    key: Annotated[Word, Field(min_length=1)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[Word] = Field(default=[])

    @model_validator(mode="after")
    def _has_what_it_compares_with(self) -> Self:
        compares = self.operator in ("In", "NotIn")
        if compares and not self.values:
            raise ValueError(f"'values' is empty, which '{self.operator}' compares with")
        if self.values and not compares:
            raise ValueError(f"'{self.operator}' takes no 'values'")
        return self

    @property
    def query(self) -> str:
        match self.operator:
            case "In":
                return f"{self.key} in ({','.join(self.values)})"
            case "NotIn":
                return f"{self.key} notin ({','.join(self.values)})"
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"


class LabelSelector(Shape):
    """Kubernetes' LabelSelector. An empty one selects everything."""

    match_labels: dict[Word, Word] = Field(default={})
    match_expressions: list[Expression] = Field(default=[])

    @property
    def query(self) -> str:
        """The selector as the API server takes it in a query."""
        labels = [f"{name}={value}" for name, value in sorted(self.match_labels.items())]
        return ",".join([*labels, *(each.query for each in self.match_expressions)])


class ObjectType(Shape):
    api_version: ApiVersion
    kind: Kind


class Resource(ObjectType):
    """Objects that are watched: all of a kind, or those that the selector selects."""

    selector: LabelSelector = LabelSelector()


class ApiServerSpec(Shape):
    """What is watched, where, and what of it is emitted.

    ``service_account_name`` is taken as Knative has it, and changes nothing: the source is who the
    process is, or who ``kubeconfig``, a file, says.
    """

    resources: Annotated[list[Resource], Field(min_length=1)]
    mode: Literal["Reference", "Resource"] = "Reference"
    owner: ObjectType | None = None
    namespace_selector: LabelSelector | None = None
    filters: list[FilterItem] = Field(default=[])
    service_account_name: str | None = None
    kubeconfig: Annotated[str, Field(min_length=1)] | None = None
