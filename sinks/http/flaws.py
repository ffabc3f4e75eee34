"""Why something cannot prove to a subscriber who sends, told before it is needed."""

from __future__ import annotations

import re
from typing import Final

from broker.errors import CemeshError
from broker.policy import Credentials, Signing
from sinks.http.address import parse
from sinks.http.signing import Signer
from sinks.http.tls import certificate_fault

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_OWN: Final = frozenset(
    {
        "authorization", "connection", "expect", "host", "http2-settings", "keep-alive", "prefer",
        "te", "traceparent", "trailer", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip
_OWN_BEGINNINGS: Final = ("ce-", "content-", "kn-", "proxy-", "webhook-")


def flaw(proof: Signing | Credentials) -> str | None:
    """Return the first thing that is wrong with it, or None; see `broker.ports.ProvingSinks`."""
    try:
        match proof:
            case Signing():
                Signer(proof)
                return None
            case Credentials(oauth2=oauth2, certificate=certificate, headers=headers):
                if oauth2 is not None:
                    parse(oauth2.token_url)
                found = map(_header_flaw, headers)
                first = next((each for each in found if each is not None), None)
                return first or (None if certificate is None else certificate_fault(certificate))
    except CemeshError as error:
        return str(error)


def _header_flaw(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return f"'{name}' is no name of a header"
    lower = name.lower()
    if lower in _OWN or lower.startswith(_OWN_BEGINNINGS):
        return f"the header '{name}' is the mesh's own to set"
    return None
