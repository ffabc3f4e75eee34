"""Keeps web pages away from an admin port that asks nobody who they are; or whoever is not known.

On loopback, the one who can connect is the one who may operate the mesh; but a browser on
the same machine connects on behalf of any page it shows. Two checks keep those out.
"""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.admin.clients import client_certificate
from broker.admin.responses import problem

_LOCAL_NAMES: Final = frozenset({"localhost", "localhost."})
_PROBES: Final = frozenset({"/healthz", "/readyz"})
"""What whoever runs the process asks, which has no certificate: Kubernetes' kubelet is one."""


class Guard:
    """Refuse (403) what a web page of another origin makes a browser send.

    * A request with an ``Origin`` other than the admin port itself.
    * A request that came in over loopback under a name that is not loopback's: a page whose
      name was made to resolve to 127.0.0.1 after it was loaded (DNS rebinding).
    * Where it is for ``known_clients_only``: any but a probe, of a client without a certificate.
    """

    def __init__(self, app: ASGIApp, *, known_clients_only: bool = False) -> None:
        self._app = app
        self._known_clients_only = known_clients_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refused = _refusal(scope)
            if refused is None and self._known_clients_only and not _is_known(scope):
                refused = "the admin port answers to clients with a certificate alone"
            if refused is not None:
                await problem(HTTPStatus.FORBIDDEN, refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_known(scope: Scope) -> bool:
    return scope["path"] in _PROBES or client_certificate(scope) is not None


def _refusal(scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if _came_over_loopback(scope) and not _is_loopback(_without_port(host)):
        return f"the admin port on loopback does not answer to the name '{host}'"
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"{scope['scheme']}://{host}".lower():
        return f"the admin port does not answer to pages of '{origin}'"
    return None


def _came_over_loopback(scope: Scope) -> bool:
    # The address that the connection was made to, not the one that was bound: a port bound
    # to all addresses can be reached, and abused, over loopback as well.
    server = scope.get("server")
    return server is not None and _is_loopback(server[0])


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
