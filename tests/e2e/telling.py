"""Measurements that a test makes on its way, for whoever runs it by hand."""

from __future__ import annotations

import sys

import pytest


def tell(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    """Write these lines to the terminal, although pytest captures what is written."""
    with capsys.disabled():
        sys.stdout.writelines(["\n", *(f"{line}\n" for line in lines)])
