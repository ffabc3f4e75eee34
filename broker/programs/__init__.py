"""Programs that the mesh runs on this machine, as a container says: watched, and ended."""

from __future__ import annotations

from broker.programs.container import (
    Container,
    PodTemplate,
    Text,
    command,
    environment,
    expanded,
    inherited,
)
from broker.programs.lines import Concealed, Lines
from broker.programs.program import Ended, Output, run_program

__all__ = [
    "Concealed",
    "Container",
    "Ended",
    "Lines",
    "Output",
    "PodTemplate",
    "Text",
    "command",
    "environment",
    "expanded",
    "inherited",
    "run_program",
]
