"""Fixtures of several files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker.observe.stories import Journal
from tests.unit.stories import keeping


@pytest.fixture
async def kept() -> AsyncIterator[Journal]:
    """Return a journal of stories, in memory."""
    async with Journal(keeping()) as opened:
        yield opened
