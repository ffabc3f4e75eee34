"""What a trigger may ask of its deliveries beyond Knative's DeliverySpec.

Everything here is a frozen value, but for what a file of authorities holds. What is secret is
kept out of every `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from broker.tls import CaFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many attempts a second on average, and up to ``burst`` of them at once."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds a trigger's deliveries; None means no bound.

    ``bytes_in_flight`` counts the payloads of attempts that are under way; one that is larger
    goes alone. An event that was accepted longer than ``max_age`` ago is given up.
    """

    rate: Rate | None = None
    bytes_in_flight: int | None = None
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """What bounds the parts of an attempt, within the bound of all of it; None means only that.

    ``connect`` is looking the name up, dialling and shaking hands; ``write`` until the request is
    sent, ``first_byte`` until the answer begins, each from when the request began to be sent;
    ``body`` from there until the answer is complete.
    """

    connect: timedelta | None = None
    write: timedelta | None = None
    first_byte: timedelta | None = None
    body: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a trigger pauses by itself: after so many ``failures`` in a row.

    Then one attempt after ``pause`` tests the subscriber, and again after twice as long each
    time, up to ``max_pause``.
    """

    failures: int = 20
    pause: timedelta = timedelta(seconds=5)
    max_pause: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How much goes out in one request: so many events, bytes of them, or what came meanwhile."""

    max_events: int = 100
    max_bytes: int = 256 << 10
    max_wait: timedelta = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Keys that each request is signed with, as Standard Webhooks writes them.

    ``whsec_…`` is a symmetric key for HMAC-SHA256, ``whsk_…`` a private one for ed25519. A request
    has a signature by each.
    """

    keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What the mesh shows a subscriber over TLS, in PEM."""

    certificate: str = field(repr=False)
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2:
    """The client credentials grant (RFC 6749, section 4.4).

    ``authentication`` is how the client proves itself to the token endpoint (section 2.3.1): with
    a header, or in the form.
    """

    token_url: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    authentication: Literal["basic", "post"] = "basic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What proves to a subscriber who sends. At most one of them is in ``Authorization``.

    ``basic`` is the base64 of ``user:password``, ``token_file`` the path of a file in which
    something else keeps a bearer token fresh.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    basic: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    oauth2: OAuth2 | None = None
    token_file: str | None = None
    certificate: ClientCertificate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Ask before the first delivery (WebHook 1.0.2, section 4). ``origin`` is a DNS name.

    ``callback`` is the URL under which a subscriber reaches the mesh's data port, without a slash
    at its end, where it may consent later. ``rate`` is how many requests a minute are asked for.
    """

    origin: str
    callback: str | None = None
    rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where connections may lead beside public addresses, and by which way.

    ``allowed`` has names of hosts (``*.example.com`` for all below), addresses and networks in
    CIDR notation. ``loopback`` allows the mesh's own machine. ``proxy`` is the URL of an HTTP
    proxy, which connections go through but those to what ``no_proxy`` has, written as
    ``allowed`` is. ``ca_certs`` are authorities that all of them trust beside the system's, as
    their file has them when a connection is made.
    """

    allowed: tuple[str, ...] = ()
    loopback: bool = False
    proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()
    ca_certs: CaFile | None = None
