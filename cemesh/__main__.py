"""``python -m cemesh``."""

from broker.cli import main

main()
