"""The command line: ``cemesh`` and ``python -m cemesh``."""

from broker.cli.root import main

__all__ = ["main"]
