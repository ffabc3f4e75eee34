"""What every channel promises. Each backend passes this suite unchanged."""

from __future__ import annotations

from cemesh.testing.contract.channels import *  # noqa: F403
from cemesh.testing.contract.reading import *  # noqa: F403
