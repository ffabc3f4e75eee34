"""The conditions of an object's status, as Knative's objects have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

Truth = Literal["True", "False", "Unknown"]

READY: Final = "Ready"

_LONGEST: Final = 2000
"""Characters of a message: a hundred causes are no better reading than the first few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is true of an object, or not, and why.

    One that is ``told_only`` has no part in whether the object is ready.
    """

    type: str
    status: Truth = "True"
    reason: str = ""
    message: str = ""
    told_only: bool = False


def summed(conditions: Sequence[Condition]) -> Condition:
    """Return `Ready`, which is what the first of the others says that is not true."""
    for status in ("False", "Unknown"):
        for each in conditions:
            if each.status == status and not each.told_only:
                return Condition(
                    type=READY, status=each.status, reason=each.reason, message=each.message
                )
    return Condition(type=READY)


def merged(
    former: object, conditions: Iterable[Condition], now: datetime
) -> Sequence[dict[str, Any]]:
    """Return the list of conditions ``former`` with these in it, in place of those of their types.

    They are in the order of their types. Those of others stay as they are. When one's status last
    changed is ``now`` only where it has.
    """
    given = former if isinstance(former, list) else []
    known = {
        each["type"]: each
        for each in given
        if isinstance(each, dict) and isinstance(each.get("type"), str)
    }
    ours = {each.type: _written(each, known.get(each.type, {}), now) for each in conditions}
    both = known | ours
    return [both[each] for each in sorted(both)]


def _written(condition: Condition, former: dict[str, Any], now: datetime) -> dict[str, Any]:
    since = former.get("lastTransitionTime")
    if former.get("status") != condition.status or not isinstance(since, str) or not since:
        since = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    message = condition.message
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}…"
    said = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": message,
        # What Knative's own tools leave out of what makes an object ready.
        "severity": "Info" if condition.told_only else "",
        "lastTransitionTime": since,
    }
    return {name: value for name, value in said.items() if value}
