"""What an API server has against a request, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from broker.connections.kubernetes.client import Answer
from broker.connections.kubernetes.collections import Collection, Object
from broker.errors import UpstreamUnavailable

_LONGEST_PAUSE: Final = 60.0


class Gone(Exception):
    """The place from which on it was asked is no longer known."""


class Refused(UpstreamUnavailable):
    """The API server answers with that ``status``.

    401: it does not know who we are; 403: we may not; 404: it does not serve that.
    """

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.status = status


class Busy(UpstreamUnavailable):
    """The API server asks to be left alone for so many seconds."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class Ended(UpstreamUnavailable):
    """The API server has ended a watch by an error, as it may do with each that is begun."""


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    code: int = 0


_status: Final = msgspec.json.Decoder(_Status)


def fault_of(found: Object, of: Collection) -> Exception:
    """Return what to raise for the error that ended a watch."""
    try:
        status = msgspec.convert(found, _Status)
    except msgspec.ValidationError:
        status = _Status(message="for no reason that can be read")
    if status.code == 410:
        return Gone()
    return Ended(f"the API server ended the watch of {of.path}: {status.message}")


def rule_of(of: Collection) -> tuple[str, str]:
    """Return what is done by a request for the collection, and the rule of RBAC that it takes."""
    group = of.api_version.rpartition("/")[0]
    where = "ClusterRole" if of.namespace is None else f"Role of the namespace '{of.namespace}'"
    named = "" if of.name is None else f', resourceNames ["{of.name}"]'
    return f"reading {of.plural}", (
        f'it takes a {where} with the rule apiGroups ["{group}"], resources '
        f'["{of.plural}"]{named}, verbs ["get", "list", "watch"], bound to whom cemesh runs as'
    )


async def expect_ok(answer: Answer, doing: str, rule: str = "") -> None:
    """Raise `Gone`, `Busy` or `UpstreamUnavailable` unless it is what was asked for."""
    if answer.status == 200:
        return
    try:
        said = _status.decode(await answer.body(most=1 << 20)).message
    except (msgspec.DecodeError, RecursionError):
        said = ""
    answers = f"the API server answers {answer.status}{': ' if said else ''}{said}"
    why = f"{doing}: {answers}"
    match answer.status:
        case 410:
            raise Gone
        case 401:
            # Whatever was asked for: of all that is, one and the same trouble.
            raise Refused(
                f"{answers}; the token or the certificate is not, or no longer, valid", 401
            )
        case 403 if rule:
            raise Refused(f"{why}; {rule}", 403)
        case 429:
            raise Busy(why, _seconds(answer.headers))
        case _:
            raise Refused(why, answer.status)


def _seconds(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return min(float(text), _LONGEST_PAUSE) if text.isascii() and text.isdigit() else 1.0
