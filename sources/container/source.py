"""Runs a program that posts events, and emits what it posts."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from functools import partial
from typing import ClassVar, Final

from broker.errors import CemeshError
from broker.ports import Emitter, SourceContext
from broker.programs import Concealed, Lines, command, environment, inherited, run_program
from sources.container.sink import SinkServer
from sources.container.spec import ContainerSpec

_log: Final = logging.getLogger("cemesh.sources.container")

_WELL_AFTER: Final = 5.0
"""Seconds that a program has run after which it counts as one that works."""

_CONTRACT: Final = re.compile("K_SINK|K_CE_OVERRIDES|K_CA_CERTS")


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

    async def run(self, emit: Emitter) -> None:
        """Run the program, and emit what it posts. Raises `CemeshError` when it ends."""
        sink = SinkServer(emit, self._context)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(sink.take())
            well = tasks.create_task(self._works_after_a_while())
            try:
                how = await self._run_program(sink)
            finally:
                well.cancel()
                sink.close()  # only now: as it ends, too, the program may post events
                await asyncio.wait([serving])
        raise CemeshError(how)

    async def _run_program(self, sink: SinkServer) -> str:
        """Return how it has ended."""
        overrides = {"extensions": dict(self._context.extensions)}
        variables = environment(
            self._container,
            {"NAMESPACE": self._context.namespace, "NAME": self._context.name},
            {"K_SINK": sink.url, "K_CE_OVERRIDES": json.dumps(overrides)},
        )
        concealed = Concealed((sink.path[1:], *self._container.concealed))

        def say(stream: str, line: str) -> None:
            extra = {"source": self._name, "stream": stream, "line": concealed.out_of(line)}
            _log.info("program wrote", extra=extra)

        err = Lines(partial(say, "stderr"))
        ended = await run_program(
            command(self._container, variables),
            self._container.working_dir,
            {**inherited(_CONTRACT), **variables},
            out=Lines(partial(say, "stdout")),
            err=err,
        )
        how = f"{ended.how}: {err.last}" if err.last else ended.how
        return concealed.out_of(how)

    async def _works_after_a_while(self) -> None:
        await asyncio.sleep(_WELL_AFTER)
        self._context.healthy()
