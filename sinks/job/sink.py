"""Runs a command for each event, and takes the event once that has ended well."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from broker.codecs.json import encode_event
from broker.event import Event
from broker.ports import Accepted, Answer, Refused, SinkContext
from broker.programs import Concealed, Ended, command, environment, inherited, run_program
from sinks.job.folders import JobFolder, JobFolders
from sinks.job.output import Errors, OutputFile
from sinks.job.spec import JobSinkSpec

_MOUNTED: Final = "/etc/jobsink-event/event"
"""Where a container of Knative's JobSink finds its event. Here it is in the folder of the job."""

_CONTRACT: Final = re.compile("CE_[A-Z0-9]+|K_EVENT_FILE|K_EXECUTION_MODE")

_REMOVES_EVERY: Final = timedelta(hours=1)
_REMOVES_AT_MOST_EVERY: Final = timedelta(seconds=1)


@dataclass(slots=True)
class _Running:
    """A job that runs or waits to, and how many attempts wait for it."""

    task: asyncio.Task[Answer]
    awaited: int = 0


class JobSink:
    """Runs the command of a container for each event, as a process of this machine.

    Accepted is an event whose job has ended with exit code 0, and none is run again after that, as
    long as its folder is there.
    """

    api_versions: ClassVar = ("sinks.knative.dev/v1alpha1",)

    def __init__(self, spec: JobSinkSpec, context: SinkContext) -> None:
        name = f"{context.namespace}/{context.name}"
        folder = spec.folder or f"jobs/{name}"
        self._folders = JobFolders(Path(folder).absolute(), name)
        self._container = spec.container
        self._concealed = Concealed(spec.container.concealed)
        self._deadline = spec.job.spec.active_deadline_seconds
        self._kept = timedelta(seconds=spec.job.spec.ttl_seconds_after_finished)
        self._free = asyncio.Semaphore(spec.concurrency)
        self._running: dict[Path, _Running] = {}

    async def __aenter__(self) -> Self:
        self._removing = asyncio.create_task(self._remove_old())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Return once all jobs have ended or were ended."""
        tasks = [self._removing, *(each.task for each in self._running.values())]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def attempt(self, event: Event) -> Answer:
        """Return once the event's job has ended. Attempts for the same event share one.

        It is ended when nobody waits for it any more, and then begun anew by who comes next.
        """
        folder = self._folders.of(event)
        while (running := self._running.get(folder.path)) and running.task.cancelling():
            await asyncio.wait([running.task])
        if running is None:
            running = _Running(asyncio.create_task(self._done(event, folder)))
            self._running[folder.path] = running
            running.task.add_done_callback(lambda _: self._running.pop(folder.path))
        running.awaited += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.awaited -= 1
            if not running.awaited:
                running.task.cancel()

    async def _done(self, event: Event, folder: JobFolder) -> Answer:
        try:
            if folder.has_ended_well():
                return Accepted(note="it had run")
            async with self._free, folder.claimed() as lock:
                if folder.has_ended_well():  # by another process meanwhile
                    return Accepted(note="it had run")
                await _whole(partial(folder.begin, encode_event(event)))
                how = await self._run(event, folder, lock)
                await _whole(partial(folder.finish, None if how is None else how.encode()))
        except OSError as error:
            return Refused(reason=f"{error.filename or folder.path}: {error.strerror or error}")
        return Accepted() if how is None else Refused(reason=how)

    async def _run(self, event: Event, folder: JobFolder, lock: int) -> str | None:
        """Run the job, and return how it has ended, or None if it did so well."""
        arguments, variables = self._program(event, folder)
        with OutputFile(folder.output) as output:
            errors = Errors(output)
            try:
                async with asyncio.timeout(self._deadline):
                    ended = await run_program(
                        arguments,
                        self._container.working_dir,
                        {**inherited(_CONTRACT), **variables},
                        out=output,
                        err=errors,
                        stdin=str(folder.event),
                        held=(lock,),
                    )
            except TimeoutError:
                ended = Ended(
                    how=f"{arguments[0]} was ended after activeDeadlineSeconds, {self._deadline} s"
                )
        if ended.well:
            return None
        return self._concealed.out_of(f"{ended.how}: {errors.last}" if errors.last else ended.how)

    def _program(self, event: Event, folder: JobFolder) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return the command and its variables, which lead to the event's file."""
        file = str(folder.event)
        given = {f"CE_{name.upper()}": value for name, value in event.attributes.items()}
        given |= {"K_EVENT_FILE": file, "K_EXECUTION_MODE": "batch"}
        variables = environment(self._container, {}, given)
        arguments = command(self._container, variables)
        return (
            [each.replace(_MOUNTED, file) for each in arguments],
            {name: value.replace(_MOUNTED, file) for name, value in variables.items()} | given,
        )

    async def _remove_old(self) -> None:
        pause = min(_REMOVES_EVERY, max(_REMOVES_AT_MOST_EVERY, self._kept))
        while True:
            await asyncio.to_thread(self._folders.remove_older, self._kept)
            await asyncio.sleep(pause.total_seconds())


async def _whole(work: Callable[[], None]) -> None:
    """Do that in a thread, and return when it is done: cancelled, only then as well."""
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(doing)
    finally:
        await asyncio.wait([doing])
