"""The rules of tests/conftest.py, tried on small test runs of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest

@pytest.mark.skip(reason="no server here")
def test_marked(): ...

def test_while_running():
    pytest.skip("no tool here")

@pytest.mark.xfail(reason="known")
def test_known():
    assert False
"""

SKIPPED_MODULE = """
import pytest

pytest.skip("no library here", allow_module_level=True)
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what pytest prints when it runs the two files above as CI would."""
    folder = tmp_path_factory.mktemp("skips")
    shutil.copy(Path(__file__).parent.parent / "conftest.py", folder)
    (folder / "test_skips.py").write_text(SKIPS)
    (folder / "test_module.py").write_text(SKIPPED_MODULE)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --continue-on-collection-errors -rx\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=folder,
        env=os.environ | {"CI": "true"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_in_ci_a_skipped_test_fails_with_its_reason(output: str) -> None:
    assert "CI skips no test, and this one was skipped: Skipped: no server here" in output
    assert "CI skips no test, and this one was skipped: Skipped: no tool here" in output


def test_in_ci_a_skipped_module_is_an_error_with_its_reason(output: str) -> None:
    assert "CI skips no test, and this one was skipped: Skipped: no library here" in output


def test_in_ci_an_expected_failure_stays_expected(output: str) -> None:
    assert "1 failed, 1 xfailed, 2 errors" in output
