"""Sources that the manifests of tests name by `spec.class`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import BaseModel, Field

from cemesh import Emitter, SecretText, SourceContext


class Login(BaseModel):
    user: str
    password: SecretText


class OrdersSpec(BaseModel):
    table: str
    batch: int = Field(default=100, ge=1, le=1000)
    login: Login | None = None


class Orders:
    """A source with a pydantic model."""

    def __init__(self, spec: OrdersSpec, context: SourceContext) -> None:
        self.spec = spec

    async def run(self, emit: Emitter) -> None:
        await emit([])


@dataclass(frozen=True)
class Page:
    size: int = 10


@dataclass(frozen=True)
class PollSpec:
    url: str
    every: timedelta = timedelta(minutes=1)
    page: Page = field(default_factory=Page)
    token: SecretText | None = None


async def poll(emit: Emitter, spec: PollSpec) -> None:
    """A source that is a function, with a dataclass."""
    await emit([])


async def simple(emit: Emitter) -> None:
    """A source that has nothing to say."""
    await emit([])


class NoSource:
    pass
