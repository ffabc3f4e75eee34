"""Sinks that the manifests of tests name by `spec.class`."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Self

from pydantic import BaseModel

from cemesh import Accepted, Answer, Event, Refused, SecretText, SinkContext


class LedgerSpec(BaseModel):
    book: str
    pages: list[str] = []
    token: SecretText | None = None


class Ledger:
    """A sink with a life of its own; `entered` and `left` tell of it."""

    made: ClassVar[list[Ledger]] = []

    def __init__(self, spec: LedgerSpec, context: SinkContext) -> None:
        self.spec = spec
        self.name = f"{context.kind} {context.namespace}/{context.name}"
        self.taken: list[str] = []
        self.entered = self.left = 0
        self.made.append(self)

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.left += 1

    async def attempt(self, event: Event) -> Answer:
        if event.id == "bad":
            return Refused(reason="no entry", permanent=True)
        self.taken.append(event.id)
        return Accepted(note="entered")


async def print_it(event: Event) -> None:
    """A sink that is a function, and takes everything."""


async def reply(event: Event) -> Event:
    return event.with_attributes({"type": "reply"}, {})


async def broken(event: Event) -> None:
    raise ValueError("no such book")


async def slow(event: Event) -> None:
    await asyncio.Event().wait()


async def odd(event: Event) -> int:
    return 200
