"""The stories of events: what is noted of each, kept within bounds, and found again."""

from broker.observe.stories.journal import Journal, Keeping
from broker.observe.stories.recorder import Recorder

__all__ = ["Journal", "Keeping", "Recorder"]
