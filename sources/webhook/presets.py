"""The services that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sources.webhook.github import GITHUB
from sources.webhook.gitlab import GITLAB
from sources.webhook.services import Service
from sources.webhook.slack import SLACK
from sources.webhook.standard import STANDARD
from sources.webhook.stripe import STRIPE

PRESETS: Final[Mapping[str, Service]] = {
    each.name: each for each in (GITHUB, GITLAB, STRIPE, SLACK, STANDARD)
}
