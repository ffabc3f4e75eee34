"""Each set of values is rendered once for all tests of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from tests.chart.rendering import SHAPES, Rendered, rendered, template

Shape = Callable[[str], Rendered]


@pytest.fixture(scope="session")
def shape(helm: Path) -> Shape:
    """Return the release that comes of a set of values, by the name of its file."""

    @cache
    def render(name: str) -> Rendered:
        return rendered(template(helm, SHAPES[name]))

    return render


@pytest.fixture(scope="session", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """Keep what kubernetes-validate reads: 1.5 MB of definitions for each object, otherwise."""
    read = kubernetes_validate.utils.schema_contents
    kubernetes_validate.utils.schema_contents = cache(read)
    yield
    kubernetes_validate.utils.schema_contents = read
