"""What became of a source, as its status says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from broker import plugins
from broker.connections.kubernetes.collections import Object
from broker.errors import PluginNotFound
from broker.kubernetes.conditions import Condition
from broker.kubernetes.containers import KIND, broker_of
from broker.kubernetes.views import View
from broker.kubernetes.wrongs import NOT_YET, About
from broker.settings import Part
from broker.status import SourceStatus

DEPLOYED: Final = "Deployed"

_SINK: Final = About(type="SinkProvided", place="spec.sink", reason="SinkNotResolved")
_ABOUTS: Final = (_SINK, About(type=DEPLOYED))


def source_conditions(found: Object, subject: str, view: View) -> Sequence[Condition]:
    """Return the conditions of the source, but for the one that sums them up."""
    wrong = view.wrong_with(subject, _ABOUTS)
    return [
        wrong.unless(Condition(type=_SINK.type), known=_broker(found, subject, view) is not None),
        wrong.unless(_deployed(found, subject, view)),
    ]


def source_sink(found: Object, subject: str, view: View) -> str | None:
    """Return where its events go: nowhere, while something is wrong with it."""
    broker = None if view.is_wrong(subject) else _broker(found, subject, view)
    return None if broker is None else view.broker_url(broker)


def _broker(found: Object, subject: str, view: View) -> str | None:
    """Return the key of the broker that it emits into, where there is one."""
    status = view.sources.get(subject)
    broker = broker_of(found) if status is None else status.broker
    return broker if broker in view.brokers else None


def _deployed(found: Object, subject: str, view: View) -> Condition:
    if found["kind"] == KIND and subject in view.deployments:
        return view.deployments[subject]
    status = view.sources.get(subject)
    if status is not None:
        return _running(status)
    if Part.INGRESS not in view.parts and _is_called(found):
        message = "it runs wherever events are taken"
        return Condition(type=DEPLOYED, reason="RunByIngress", message=message)
    reason, message = NOT_YET
    return Condition(type=DEPLOYED, status="Unknown", reason=reason, message=message)


def _running(status: SourceStatus) -> Condition:
    """Return how it fares. A pod that fails again and again would be no more available."""
    if status.state in ("unhealthy", "restarting"):
        return Condition(
            type=DEPLOYED,
            status="False",
            reason=status.state.capitalize(),
            message=status.error or "",
        )
    if status.state == "standby":
        message = "one process runs it, and another one when that is gone"
        return Condition(type=DEPLOYED, reason="Standby", message=message)
    return Condition(type=DEPLOYED)


def _is_called(found: Object) -> bool:
    spec = found.get("spec")
    at = spec.get("class") if isinstance(spec, dict) and found["kind"] == "Source" else None
    try:
        return plugins.source_of(str(found["kind"]), at if isinstance(at, str) else None).receives
    except PluginNotFound:
        return False
