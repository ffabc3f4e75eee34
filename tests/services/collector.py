"""A collector of traces: takes OTLP over HTTP as real ones do, and keeps the spans.

with Collector() as collector:
    async with RunningMesh(folder, MANIFEST, environment=collector.environment) as mesh:
        ...
        await collector.until(lambda spans: "deliver default/audit" in names(spans))
"""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

Value = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span as it came in. Ids are hexadecimal digits, ``parent`` empty where there is none."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    links: Sequence[tuple[str, str]]
    began: int
    ended: int
    fault: str | None
    attributes: Mapping[str, Value]
    resource: Mapping[str, Value]

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.id}-01"


Spans = Sequence[Span]


class Collector:
    """Listens on a free port of loopback, or a given one, while it is entered."""

    def __init__(self, port: int = 0) -> None:
        self.spans: list[Span] = []
        self.headers: list[Mapping[str, str]] = []
        self._came = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.port = self._server.server_address[1]

    @property
    def environment(self) -> dict[str, str]:
        """What lets a process send its traces here, soon."""
        return environment(self.port)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, body: bytes, headers: Mapping[str, str]) -> None:
        spans = _spans(ExportTraceServiceRequest.FromString(body))
        with self._came:
            self.spans += spans
            self.headers.append(headers)
            self._came.notify_all()

    async def until(self, enough: Callable[[Spans], bool], *, within: float = 30) -> Spans:
        """Return all spans once they are enough; raise TimeoutError where they never are."""

        def wait() -> bool:
            with self._came:
                return self._came.wait_for(lambda: enough(self.spans), within)

        if not await asyncio.to_thread(wait):
            raise TimeoutError(f"within {within} s came only {sorted(names(self.spans))}")
        return list(self.spans)


def environment(port: int) -> dict[str, str]:
    """What lets a process send its traces to that port, soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


def names(spans: Spans) -> Sequence[str]:
    return [span.name for span in spans]


def named(spans: Spans, name: str) -> Spans:
    """Return those of that name, in the order in which they began."""
    return sorted((each for each in spans if each.name == name), key=lambda each: each.began)


def one(spans: Spans, name: str) -> Span:
    [span] = named(spans, name)
    return span


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            right = self.path == "/v1/traces"
            if right and self.headers["content-type"] == "application/x-protobuf":
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body, dict(self.headers.items()))
                self._answer(200, ExportTraceServiceResponse().SerializeToString())
            else:
                self._answer(404, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _spans(request: ExportTraceServiceRequest) -> Spans:
    return [
        _span(span, _attributes(of_resource.resource.attributes))
        for of_resource in request.resource_spans
        for scope in of_resource.scope_spans
        for span in scope.spans
    ]


def _span(span: trace_pb2.Span, resource: Mapping[str, Value]) -> Span:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Span(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        links=[(each.trace_id.hex(), each.span_id.hex()) for each in span.links],
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        fault=span.status.message if failed else None,
        attributes=_attributes(span.attributes),
        resource=resource,
    )


def _attributes(told: Sequence[KeyValue]) -> Mapping[str, Value]:
    return {each.key: _value(each.value) for each in told}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return str(value.string_value)
        case "int_value":
            return int(value.int_value)
        case "bool_value":
            return bool(value.bool_value)
        case kind:
            raise AssertionError(f"an attribute is a {kind}")
