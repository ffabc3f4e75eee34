"""Who may send events to a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hmac import compare_digest

from broker.ingress.problems import Forbidden, Unauthenticated
from broker.trigger import Access, Broker

Headers = Sequence[tuple[bytes, bytes]]


def check_access(broker: Broker, clients: Callable[[], Iterable[Access]], headers: Headers) -> None:
    """Return if a request with these headers may send to the broker.

    Raises `Unauthenticated`, or `Forbidden` if its credential is one of ``clients``, the
    accesses of all brokers, and not one of this broker's.
    """
    access = broker.access
    if access is None:
        return
    given = _credential(headers)
    if given is None:
        raise Unauthenticated("an Authorization header is required", challenges=_ask(broker))
    if _knows(access, given):
        return
    if any(_knows(each, given) for each in clients()):
        raise Forbidden(f"this client may not send to the broker {broker.key}")
    raise Unauthenticated("the credentials are not known", challenges=_ask(broker))


def _credential(headers: Headers) -> tuple[bytes, bytes] | None:
    """Return the scheme, in lower case, and the credential; None unless there is just one."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, credential = values[0].strip(b" \t").partition(b" ")
    return scheme.lower(), credential.strip(b" \t")


def _knows(access: Access, given: tuple[bytes, bytes]) -> bool:
    scheme, credential = given
    match scheme:
        case b"bearer":
            known = access.bearer.values()
        case b"basic":
            known = access.basic.values()
        case _:
            return False
    # In constant time: how long it takes must not tell how much of a guess is right.
    return any(compare_digest(credential, each.encode()) for each in known)


def _ask(broker: Broker) -> str:
    """Return the challenges for WWW-Authenticate: the schemes that this broker has clients for."""
    realm = f'realm="{broker.key}"'
    schemes = ["Bearer"]
    if broker.access is not None and broker.access.basic:
        schemes = ["Bearer", "Basic"] if broker.access.bearer else ["Basic"]
    return ", ".join(f"{scheme} {realm}" for scheme in schemes)
