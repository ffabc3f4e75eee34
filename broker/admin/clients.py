"""What is known of a client of the admin port by its certificate."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

CLIENT_CERTIFICATE: Final = "client_certificate"
"""Where the server puts the subject of a certificate into the state of a connection: of one that
its client has proved to have.
"""


def client_certificate(scope: Scope) -> str | None:
    """Return the subject of the client's certificate, or None where it has shown none."""
    found: str | None = scope.get("state", {}).get(CLIENT_CERTIFICATE)
    return found
