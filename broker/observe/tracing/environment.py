"""Whether traces are on, by OpenTelemetry's own variables, which its SDK reads besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from broker.errors import CemeshError
from broker.urls import without_credentials

if TYPE_CHECKING:
    from broker.observe.tracing.recorder import Recorder

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"

_LACKING: Final = (
    "{variable} is set, but what sends traces is not installed: pip install 'cemesh[otel]', "
    "or set OTEL_SDK_DISABLED=true to do without"
)


def tracing_of(environment: Mapping[str, str]) -> Recorder | None:
    """Return what records spans, or None where traces are off.

    They are on where an endpoint is set, and neither OTEL_SDK_DISABLED is true nor
    OTEL_TRACES_EXPORTER none. Raises a `CemeshError` where they are on, and what is asked for
    cannot be had.
    """
    endpoint = _first_set(_ENDPOINTS, environment)
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if endpoint is None or disabled or exporter == "none":
        return None
    if exporter != "otlp":
        raise CemeshError(
            f"OTEL_TRACES_EXPORTER is '{exporter}'; traces go out by otlp alone, or none"
        )
    protocol = _first_set(_PROTOCOLS, environment)
    if protocol is not None and environment[protocol].strip() != _PROTOCOL:
        raise CemeshError(
            f"{protocol} is '{environment[protocol]}'; traces go out by {_PROTOCOL} alone, which "
            "collectors take at port 4318"
        )
    try:
        from broker.observe.tracing.recorder import Recorder
    except ModuleNotFoundError as error:
        raise CemeshError(_LACKING.format(variable=endpoint)) from error
    try:
        return Recorder(without_credentials(environment[endpoint].strip()))
    except ValueError as error:
        raise CemeshError(f"traces cannot be sent as the environment says: {error}") from error


def _first_set(names: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    return next((name for name in names if environment.get(name, "").strip()), None)
