"""Which tests are measured for coverage, as a plug-in of pytest.

A property is tried with hundreds of inputs, and a whole mesh is put under load: measured, each
takes twice the processor time. So what they reach counts only where other tests reach it, too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

_UNMEASURED = frozenset({"e2e", "property"})
"""The folders of these tests."""

_TOLD = "COVERAGE_PROCESS_CONFIG"
"""The variable by which coverage has processes measured that are started."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if item.path.parent.name not in _UNMEASURED:
        return (yield)
    with _unmeasured():
        return (yield)


@contextmanager
def _unmeasured() -> Iterator[None]:
    told = os.environ.pop(_TOLD, None)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(in_threads)
        sys.settrace(here)
        if told is not None:
            os.environ[_TOLD] = told
