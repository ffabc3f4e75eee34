"""Runs a program that posts events, and emits what it posts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import ClassVar, Final

from broker.errors import UpstreamUnavailable
from broker.ports import Emitter, SourceContext
from sources.container.program import Stream, run_program
from sources.container.sink import SinkServer
from sources.container.spec import ContainerSpec, command, environment

_log: Final = logging.getLogger("cemesh.sources.container")

_WELL_AFTER: Final = 5.0
"""Seconds that a program has run after which it counts as one that works."""

_CONTRACT: Final = ("K_SINK", "K_CE_OVERRIDES", "K_CA_CERTS")

_SHORTEST: Final = 4
"""Characters of a secret that is not shown where a program writes it: shorter ones are words."""


class ContainerSource:
    """Runs the command of a container, as a process of this machine.

    The program posts CloudEvents to ``K_SINK``. It is answered 202 once they are durable.
    """

    api_versions: ClassVar = ("sources.knative.dev/v1",)
    alone: ClassVar = True

    def __init__(self, spec: ContainerSpec, context: SourceContext) -> None:
        self._container = spec.container
        self._context = context
        self._name = f"{context.kind} {context.namespace}/{context.name}"
        self._secrets = [
            line
            for each in spec.container.env
            if each.value_from is not None
            for line in each.value_from.get_secret_value().splitlines()
        ]

    async def run(self, emit: Emitter) -> None:
        """Run the program, and emit what it posts. Raises `UpstreamUnavailable` when it ends."""
        ended: UpstreamUnavailable | None = None
        sink = SinkServer(emit, self._context)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(sink.take())
            well = tasks.create_task(self._works_after_a_while())
            try:
                await self._run_program(sink)
            except UpstreamUnavailable as error:
                ended = error  # raised below: the group would wrap it
            finally:
                well.cancel()
                sink.close()  # only now: as it ends, too, the program may post events
                await asyncio.wait([serving])
        if ended is not None:
            raise ended

    async def _run_program(self, sink: SinkServer) -> None:
        overrides = {"extensions": dict(self._context.extensions)}
        variables = environment(
            self._container,
            {"NAMESPACE": self._context.namespace, "NAME": self._context.name},
            {"K_SINK": sink.url, "K_CE_OVERRIDES": json.dumps(overrides)},
        )
        concealed = [each for each in (sink.path[1:], *self._secrets) if len(each) >= _SHORTEST]

        def say(stream: Stream, line: str) -> None:
            extra = {"source": self._name, "stream": stream, "line": _without(concealed, line)}
            _log.info("program wrote", extra=extra)

        try:
            await run_program(
                command(self._container, variables),
                self._container.working_dir,
                {**_inherited(), **variables},
                say,
            )
        except UpstreamUnavailable as error:
            raise UpstreamUnavailable(_without(concealed, str(error))) from None

    async def _works_after_a_while(self) -> None:
        await asyncio.sleep(_WELL_AFTER)
        self._context.healthy()


def _inherited() -> dict[str, str]:
    """Return the mesh's environment, but for what is the mesh's own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CEMESH_") and name not in _CONTRACT
    }


def _without(concealed: list[str], text: str) -> str:
    for each in concealed:
        text = text.replace(each, "***")
    return text
