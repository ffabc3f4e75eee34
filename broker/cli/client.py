"""Talks to the admin port of a running mesh."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from socket import SOCK_STREAM, getaddrinfo
from ssl import SSLCertVerificationError, SSLError
from typing import Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from broker.admin.models import (
    USER_HEADER,
    DeadLetterDocument,
    DeadLetterPage,
    DeliveryDocument,
    EventsPage,
    ExplanationDocument,
    LogDocument,
    LogRequest,
    ParkedList,
    ParkedRequest,
    PauseDocument,
    PauseRequest,
    ProblemDetails,
    RedrivenDocument,
    RedriveRequest,
    StatusDocument,
    StoriesDocument,
    StoryPage,
    TriggersDocument,
)
from broker.cli.exits import RefusedError, UnreachableError
from broker.cli.place import AdminPlace
from broker.codecs.http import encode_structured
from broker.event import Event

Document = TypeVar("Document", bound=msgspec.Struct)

_PATIENCE: Final = 10.0
"""Seconds that a mesh may take to answer a question."""

_PATIENCE_FOR_A_SEARCH: Final = 120.0
"""Seconds that a mesh may take to go through all that it keeps."""

_REACHED_AT: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - connects, binds nothing
"""Where a server that listens on all addresses is talked to, when both share an environment."""


class AdminClient:
    """The admin API of the mesh at that place, or of the one process there with that ``address``.

    Every method raises `UnreachableError` where no mesh answers, and `RefusedError` with the
    mesh's own words where it refuses.
    """

    def __init__(self, place: AdminPlace, address: str | None = None) -> None:
        self._name = _REACHED_AT.get(place.host, place.host)  # which a certificate has to be for
        self._host = self._name if address is None else _REACHED_AT.get(address, address)
        self._port = place.port
        self._tls = place.tls

    def status(self) -> StatusDocument:
        return self._get("/api/v1/status", StatusDocument)

    def triggers(self, broker: str) -> TriggersDocument:
        return self._get(f"{_path(broker)}/triggers", TriggersDocument)

    def explain(self, broker: str, event: Event) -> ExplanationDocument:
        """Explain an event, whose payload stays here: filters do not look at it."""
        headers, body = encode_structured(Event(event.attributes, None, event.kinds))
        with self._answer(
            "POST",
            f"{_path(broker)}/explain",
            body=body,
            headers={name.decode(): value.decode() for name, value in headers},
        ) as response:
            return self._document(response, ExplanationDocument)

    def explain_stored(self, broker: str, id: str, source: str | None) -> ExplanationDocument:
        path = f"{_path(broker)}/explain?{_query(id=id, source=source)}"
        with self._answer("GET", path, patience=_PATIENCE_FOR_A_SEARCH) as response:
            return self._document(response, ExplanationDocument)

    def events(
        self, broker: str, *, since: datetime | None, after: str | None, limit: int
    ) -> EventsPage:
        begin = None if since is None else since.isoformat()
        asked = _query(since=begin, after=after, limit=str(limit))
        return self._get(f"{_path(broker)}/events?{asked}", EventsPage)

    def stories(self, **asked: str | None) -> StoryPage:
        return self._get(f"/api/v1/stories?{_query(**asked)}", StoryPage)

    def story(self, id: str, source: str | None) -> StoriesDocument:
        path = f"/api/v1/story?{_query(id=id, source=source)}"
        with self._answer("GET", path, patience=_PATIENCE_FOR_A_SEARCH) as response:
            return self._document(response, StoriesDocument)

    def dead_letters(
        self, broker: str, *, trigger: str | None, after: str | None, limit: int
    ) -> DeadLetterPage:
        asked = _query(trigger=trigger, after=after, limit=str(limit))
        return self._get(f"{_path(broker)}/deadletters?{asked}", DeadLetterPage)

    def dead_letter(self, broker: str, id: str) -> DeadLetterDocument:
        return self._get(f"{_path(broker)}/deadletters/{quote(id, safe='')}", DeadLetterDocument)

    def redrive(self, broker: str, wanted: RedriveRequest) -> RedrivenDocument:
        """Redrive, however long that takes."""
        with self._answer(
            "POST",
            f"{_path(broker)}/deadletters/redrive",
            body=msgspec.json.encode(wanted),
            headers={"Content-Type": "application/json"},
            patience=None,
        ) as response:
            return self._document(response, RedrivenDocument)

    def delivery(self, trigger: str) -> DeliveryDocument:
        return self._get(f"{_trigger_path(trigger)}/delivery", DeliveryDocument)

    def pause(self, trigger: str, why: str) -> PauseDocument:
        body = msgspec.json.encode(PauseRequest(why=why))
        return self._post(f"{_trigger_path(trigger)}/pause", body, PauseDocument)

    def resume(self, trigger: str) -> PauseDocument:
        return self._post(f"{_trigger_path(trigger)}/resume", b"", PauseDocument)

    def parked(self, trigger: str) -> ParkedList:
        return self._get(f"{_trigger_path(trigger)}/parked", ParkedList)

    def order(
        self, trigger: str, verb: Literal["retry", "skip"], wanted: ParkedRequest
    ) -> ParkedList:
        body = msgspec.json.encode(wanted)
        return self._post(f"{_trigger_path(trigger)}/parked/{verb}", body, ParkedList)

    def log_level(self) -> LogDocument:
        return self._get("/api/v1/log", LogDocument)

    def set_log_level(self, level: str) -> LogDocument:
        return self._put("/api/v1/log", msgspec.json.encode(LogRequest(level=level)), LogDocument)

    @contextmanager
    def tail(self, broker: str) -> Iterator[Iterator[bytes]]:
        """Follow the broker's events, one structured event a line, until the mesh stops."""
        with self._answer("GET", f"{_path(broker)}/tail", then_patience=None) as response:
            yield self._lines(response)

    def _lines(self, response: HTTPResponse) -> Iterator[bytes]:
        while True:
            with self._must_answer("stopped answering"):
                line = response.readline()
            if not line:
                return
            yield line

    def _get(self, path: str, type: type[Document]) -> Document:
        with self._answer("GET", path) as response:
            return self._document(response, type)

    def _post(self, path: str, body: bytes, type: type[Document]) -> Document:
        headers = {"Content-Type": "application/json"} if body else {}
        with self._answer("POST", path, body=body, headers=headers) as response:
            return self._document(response, type)

    def _put(self, path: str, body: bytes, type: type[Document]) -> Document:
        headers = {"Content-Type": "application/json"}
        with self._answer("PUT", path, body=body, headers=headers) as response:
            return self._document(response, type)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float | None = _PATIENCE,
        then_patience: float | None = _PATIENCE,
    ) -> Iterator[HTTPResponse]:
        """Ask, and yield the answer once its head is there and says that all is well."""
        connection = HTTPConnection(self._host, self._port, timeout=_PATIENCE)
        try:
            with self._must_answer("no mesh answers", "is `cemesh run` running? "):
                connection.connect()
                if self._tls is not None:
                    secured = self._tls.wrap_socket(connection.sock, server_hostname=self._name)
                    connection.sock = secured
                connection.sock.settimeout(patience)
                opened = connection.sock
                connection.request(method, path, body, {USER_HEADER: _user(), **(headers or {})})
                response = connection.getresponse()
                opened.settimeout(then_patience)
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise RefusedError(self._document(response, ProblemDetails).detail)
            yield response
        finally:
            connection.close()

    def _document(self, response: HTTPResponse, type: type[Document]) -> Document:
        with self._must_answer("stopped answering"):
            body = response.read()
        return self._decoded(body, type)

    @contextmanager
    def _must_answer(self, otherwise: str, hint: str = "") -> Iterator[None]:
        try:
            yield
        except SSLError as error:
            raise UnreachableError(
                f"{otherwise} at {self._address} by TLS: {_reason(error)}"
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            if isinstance(error, ConnectionResetError) and self._tls is None:
                hint = "does it speak TLS (--admin-tls)? "
            raise UnreachableError(f"{otherwise} at {self._address}: {hint}({reason})") from None
        except HTTPException as error:
            raise UnreachableError(
                f"what answers at {self._address} is not cemesh: {error!r}"
            ) from None

    def _decoded(self, body: bytes, type: type[Document]) -> Document:
        try:
            return msgspec.json.decode(body, type=type)
        except msgspec.DecodeError:
            raise UnreachableError(f"what answers at {self._address} is not cemesh") from None

    @property
    def _address(self) -> str:
        return f"{self._host}:{self._port}"


def _reason(error: SSLError) -> str:
    if isinstance(error, SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")


def _user() -> str:
    """Return who runs this command, for the audit log of the mesh."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the system has no name for who runs it
        user = str(os.getuid())
    return quote(f"{user}@{socket.gethostname()}", safe="@", errors="surrogateescape")


def addresses(host: str, port: int) -> Sequence[str]:
    """Return all addresses of a host. Raises `UnreachableError` where it has none."""
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(f"no host is known as {host} ({error.strerror})") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _query(**given: str | None) -> str:
    known = {name: value for name, value in given.items() if value is not None}
    return urlencode(known, errors="surrogateescape")  # an argument may be any bytes


def _path(broker: str) -> str:
    return f"/api/v1/brokers/{quote(broker)}"


def _trigger_path(trigger: str) -> str:
    return f"/api/v1/triggers/{quote(trigger)}"
