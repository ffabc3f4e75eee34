"""What chats take: a message, made of a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Preset = Literal["slack", "teams", "discord"]

_SLACK_TAKES: Final = 40_000
_DISCORD_TAKES: Final = 2_000
_TEAMS_TAKES: Final = 20_000
"""Characters of a message; Teams says 28 KB of all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """``escape`` keeps a value from being more than text there, ``message`` is what is sent."""

    escape: Callable[[str], str]
    message: Callable[[str], object]


def _for_slack(value: str) -> str:
    # Otherwise "<!channel>" in an event would call everybody.
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _of_slack(text: str) -> object:
    return {"text": _cut(text, _SLACK_TAKES)}


def _of_discord(text: str) -> object:
    # No "@everyone" in an event calls anybody.
    return {"content": _cut(text, _DISCORD_TAKES), "allowed_mentions": {"parse": []}}


def _of_teams(text: str) -> object:
    block = {"type": "TextBlock", "text": _cut(text, _TEAMS_TAKES), "wrap": True}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [block],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


CHATS: Final[Mapping[Preset, Chat]] = {
    "slack": Chat(escape=_for_slack, message=_of_slack),
    "teams": Chat(escape=str, message=_of_teams),
    "discord": Chat(escape=str, message=_of_discord),
}


def message(preset: Preset, text: str) -> str:
    """Return the body of a request that says the text there."""
    return json.dumps(CHATS[preset].message(text), ensure_ascii=False)
