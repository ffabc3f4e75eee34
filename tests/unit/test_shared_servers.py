"""What holds for each server that a test run shares, shown by Redis, which starts fastest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.desks import no_programs, program, run_pytest

PLUGIN = "tests.services.redis.fixtures"

ASKING = """
def test_of_the_shared_server(redis_url): ...

def test_of_its_restarts(redis_server):
    with redis_server: ...
"""

BROKEN = """
import pathlib
import pytest

@pytest.fixture(scope="session")
def redis_program():
    return pathlib.Path(__file__).with_name("redis-server")
"""


def test_what_a_server_printed_that_does_not_start_is_told(tmp_path: Path) -> None:
    program(tmp_path, "redis-server", "echo the disk is full", "exit 3")

    output = run_pytest(tmp_path, PLUGIN, BROKEN + ASKING)

    assert "1 failed, 1 error" in output
    assert output.count("RuntimeError: Redis ended with 3 before it answered") >= 2
    assert output.count("the disk is full") >= 2


def test_where_there_is_no_server_tests_are_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_programs(tmp_path / "programs", monkeypatch)

    output = run_pytest(tmp_path, PLUGIN, ASKING)

    assert "2 skipped" in output
    assert "no Redis to test with: none of 7 or newer is installed" in output


FAILING = """
def test_that_asks(redis_url): assert not redis_url

def test_that_does_not(): assert not 1
"""


def test_what_the_shared_server_printed_is_shown_with_tests_that_asked_for_it(
    tmp_path: Path, redis_program: Path
) -> None:
    output = run_pytest(tmp_path, PLUGIN, FAILING)

    assert "2 failed" in output
    assert output.count("the shared Redis") == 1
    assert output.count("--- the end of what Redis printed") == 1
    assert "Ready to accept connections" in output
