"""What channels, sources and sinks promise, as tests: ours pass them, and so must anybody else's.

In a file of tests, run by pytest with pytest-asyncio in its auto mode, those of what it is:

    from cemesh.testing.contract.channels import *
    from cemesh.testing.contract.channels_for_sources import *
    from cemesh.testing.contract.sources import *
    from cemesh.testing.contract.sinks import *

and in its ``conftest.py`` a fixture that returns what is tested: ``harness``, a `Harness`, for a
channel; ``upstream``, a `cemesh.testing.contract.sources.Upstream`, for a source; ``downstream``, a
`cemesh.testing.contract.sinks.Downstream`, for a sink.
"""

import pytest

from cemesh.testing.contract.harness import BROKER, Harness, running

__all__ = ["BROKER", "Harness", "running"]

# Before they are imported, for a failed assertion to show what it compared.
for _module in ("channels", "channels_for_sources", "reading", "sinks", "sources"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")
