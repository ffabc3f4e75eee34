"""The image, built once for all tests of a run."""

from __future__ import annotations

import shutil

import pytest

from tests.image import engine
from tests.services.run import folder_of_the_run, shared


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> engine.Built:
    """Return the image of the Dockerfile."""
    missing = engine.missing()
    if missing is not None:
        pytest.skip(missing.reason)
    folder = folder_of_the_run(tmp_path_factory, pytestconfig) / "image"

    def build() -> engine.Built:
        shutil.rmtree(folder, ignore_errors=True)
        return engine.build(folder)

    return shared(folder.with_suffix(".json"), engine.Built, build)
