"""What the servers have in common that one run of pytest shares.

A server is started by the first test that asks for it, in whichever worker that runs, and lives
until the run ends, whatever becomes of that worker.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import pytest

from tests.services.missing import Missing
from tests.services.run import asks, folder_of_the_run, owner, shared
from tests.services.server import Server, log_end


class Place(Protocol):
    """Where a server is, which its worker tells the others as JSON."""

    @property
    def log(self) -> Path: ...


_Program = TypeVar("_Program")
_Place = TypeVar("_Place", bound=Place)


class SharedServer(Generic[_Program, _Place]):
    """The one server of its kind in a run, once it is registered as a plug-in of pytest.

    The names of fixtures that need it begin with ``service``; ``name`` is what it is called where
    a test fails. ``place`` is the type of what says where it is, and ``find`` returns what it is
    run with, which may take minutes to install. Where the environment has the variable ``given``,
    a server that it names takes the place of all that would be run here.
    """

    def __init__(
        self,
        service: str,
        name: str,
        place: type[_Place],
        *,
        find: Callable[[], _Program | Missing],
        given: str | None = None,
    ) -> None:
        self._service: Final = service
        self._name: Final = name
        self._place: Final = place
        self._find: Final = find
        self._given: Final = given
        self._found: Final = pytest.StashKey[_Program | Missing]()
        self._started: Final = pytest.StashKey[Server]()
        self._log: Final = pytest.StashKey[Path]()

    def program(self, config: pytest.Config) -> _Program:
        """Return what to run servers with, or skip the test that asks."""
        if self._another_is_given():
            pytest.skip(f"it needs a server of the tests' own, and {self._given} gives another")
        found = config.stash.get(self._found, None) or self._find()
        if isinstance(found, Missing):
            pytest.skip(found.reason)
        return found

    def place(
        self,
        start: Callable[[Path, int], tuple[Server, _Place]],
        factory: pytest.TempPathFactory,
        config: pytest.Config,
    ) -> _Place:
        """Return where the shared server is.

        ``start`` is called in one worker, with the server's folder and the process that it must
        not outlive, and returns it once it has started. What it raises goes to whoever asked.
        """
        run = folder_of_the_run(factory, config)

        def once() -> _Place:
            folder = Path(tempfile.mkdtemp(prefix=f"{self._service}-", dir=run))
            server, place = start(folder, owner(config))
            config.stash[self._started] = server  # it lives on, and so must its process object
            return place

        place = shared(run / f"{self._service}.json", self._place, once)
        config.stash[self._log] = place.log
        return place

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._another_is_given():
            return
        # To install or to fetch something may take longer than a test may.
        if any(asks(each, self._service) for each in session.items):
            session.config.stash[self._found] = self._find()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        log = item.config.stash.get(self._log, None)
        if report.failed and log and asks(item, self._service):
            report.sections.append((f"the shared {self._name}", log_end(self._name, log)))
        return report

    def _another_is_given(self) -> bool:
        """Return whether the tests are to use a server that runs already."""
        return bool(self._given and os.environ.get(self._given))
