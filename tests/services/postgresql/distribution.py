"""Where PostgreSQL's programs come from: Debian's package."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services import apt
from tests.services.locks import locked
from tests.services.missing import Missing

KEPT: Final = Path(__file__).parents[3] / ".postgresql"

_OLDEST: Final = 13
_PACKAGE: Final = "postgresql"
_USER: Final = "postgres"
_DEBIANS: Final = Path("/usr/lib/postgresql")

# Read before anything is installed: the package is to make no cluster and to start none.
_CREATING: Final = Path("/etc/postgresql-common/createcluster.d/cemesh-tests.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The folder of PostgreSQL's programs, and what they are run by, as root they never are."""

    programs: Path
    user: str | None

    def command(self, program: str, *arguments: str) -> Sequence[str]:
        """Return the command of a program."""
        return [*self._as_user(), str(self.programs / program), *arguments]

    def give(self, folder: Path) -> None:
        """Make the files in a folder, and the folder, those of whoever runs the programs."""
        if self.user is not None:
            for each in (folder, *folder.rglob("*")):
                shutil.chown(each, self.user)

    def _as_user(self) -> Sequence[str]:
        if self.user is None:
            return []
        # Temporary folders of root let nobody through but root: hence this one privilege of root's.
        privilege = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        return [
            "setpriv",
            f"--reuid={self.user}",
            f"--regid={self.user}",
            "--clear-groups",
            *privilege,
        ]


def find(kept: Path = KEPT) -> Distribution | Missing:
    """Return PostgreSQL's programs, which are installed if need be and may be.

    Whoever comes second waits for whoever installs it.
    """
    kept.mkdir(parents=True, exist_ok=True)
    with locked(kept / "lock"):
        found = _installed()
        failure = None
        if found is None:
            with _without_cluster():
                failure = apt.install(_PACKAGE, kept)
            found = _installed()
    if found is None:
        return Missing(
            reason=f"no PostgreSQL to test with: none of {_OLDEST} or newer is installed "
            f"({failure or f'the package {_PACKAGE} is older'}). "
            f"Install it (`sudo apt-get install {_PACKAGE}`)"
        )
    if os.geteuid() != 0:
        return Distribution(programs=found, user=None)
    if shutil.which("setpriv") is None or _USER not in {each.pw_name for each in pwd.getpwall()}:
        return Missing(
            reason=f"no PostgreSQL to test with: it does not run as root, and there is no setpriv, "
            f"or no user '{_USER}'"
        )
    return Distribution(programs=found, user=_USER)


def _installed() -> Path | None:
    on_path = shutil.which("postgres")
    found = [Path(on_path).resolve().parent] if on_path else []
    versions = [int(each.name) for each in _DEBIANS.glob("*") if each.name.isdecimal()]
    newest = sorted((each for each in versions if each >= _OLDEST), reverse=True)
    found += [_DEBIANS / str(each) / "bin" for each in newest]
    return next((each for each in found if (each / "initdb").exists()), None)


@contextmanager
def _without_cluster() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    _CREATING.parent.mkdir(parents=True, exist_ok=True)
    _CREATING.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        _CREATING.unlink()
