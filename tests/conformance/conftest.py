from __future__ import annotations

import pytest

from tests.conformance.dataport import WAYS


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """One of the ways that events come in by, each of which does the same."""
    return str(request.param)
