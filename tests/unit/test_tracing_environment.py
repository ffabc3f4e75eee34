"""By which variables traces are on, off, and refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from broker.errors import CemeshError
from broker.observe.tracing import tracing_of

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "mesh"},
        {**ON, "OTEL_SDK_DISABLED": "TRUE"},
        {**ON, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_unless_a_collector_is_named(environment: Mapping[str, str]) -> None:
    assert tracing_of(environment) is None


@pytest.mark.parametrize(
    ("environment", "refusal"),
    [
        ({**ON, "OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'"),
        ({**ON, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'http/json'",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(environment: Mapping[str, str], refusal: str) -> None:
    with pytest.raises(CemeshError, match=refusal):
        tracing_of(environment)


def test_without_the_extra_the_command_is_told_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [each for each in sys.modules if each.startswith("broker.observe.tracing.")]:
        if not name.endswith(".environment"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)

    with pytest.raises(CemeshError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT.*'cemesh\[otel\]'"):
        tracing_of(ON)


def test_an_environment_that_the_sdk_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")

    with pytest.raises(CemeshError, match="max_queue_size must be a positive integer"):
        tracing_of(ON)
