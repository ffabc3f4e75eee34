"""Programs of Debian's packages that tests ask for, each as a fixture; installed if need be."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.services import apt
from tests.services.locks import locked
from tests.services.missing import Missing
from tests.services.run import asks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A program, by the name of its fixture, and the ``package`` that brings it.

    ``purpose`` is what it is for, where there is none.
    """

    name: str
    package: str
    purpose: str
    _found: pytest.StashKey[Path | Missing] = field(default_factory=pytest.StashKey)

    def look(self, session: pytest.Session) -> None:
        """Find it for the tests that were collected: installing may take longer than one may."""
        if any(asks(each, self.name) for each in session.items):
            session.config.stash[self._found] = self.find()

    def of(self, config: pytest.Config) -> Path:
        """Return it, or skip the test that asks."""
        found = config.stash.get(self._found, None) or self.find()
        if isinstance(found, Missing):
            pytest.skip(found.reason)
        return found

    def find(self) -> Path | Missing:
        """Return it; its package is installed if need be."""
        failure = None
        if shutil.which(self.name) is None:
            lock = Path(tempfile.gettempdir(), f"cemesh-{self.name}.lock")
            with locked(lock):  # whoever comes second waits for whoever installs it
                if shutil.which(self.name) is None:
                    with tempfile.TemporaryDirectory() as kept:
                        failure = apt.install(self.package, Path(kept))
        found = shutil.which(self.name)
        if found is not None:
            return Path(found)
        return Missing(
            reason=f"no {self.name} to {self.purpose} with ({failure}). "
            f"Install it (`sudo apt-get install {self.package}`)"
        )
