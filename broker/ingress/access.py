"""Who may send events to a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hmac import compare_digest

from broker.ingress.problems import Forbidden, Unauthenticated
from broker.trigger import Access, Broker

Headers = Sequence[tuple[bytes, bytes]]


def check_access(
    broker: Broker, clients: Callable[[], Iterable[Access]], headers: Headers
) -> str | None:
    """Return who sends a request with these headers, which may: None where anybody may.

    Raises `Unauthenticated`, or `Forbidden` if its credential is one of ``clients``, the
    accesses of all brokers, and not one of this broker's.
    """
    access = broker.access
    if access is None:
        return None
    given = _credential(headers)
    if given is None:
        raise Unauthenticated("an Authorization header is required", challenges=_ask(broker))
    known = _name(access, given)
    if known is not None:
        return known
    if any(_name(each, given) is not None for each in clients()):
        raise Forbidden(f"this client may not send to the broker {broker.key}")
    raise Unauthenticated("the credentials are not known", challenges=_ask(broker))


def _credential(headers: Headers) -> tuple[bytes, bytes] | None:
    """Return the scheme, in lower case, and the credential; None unless there is just one."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, credential = values[0].strip(b" \t").partition(b" ")
    return scheme.lower(), credential.strip(b" \t")


def _name(access: Access, given: tuple[bytes, bytes]) -> str | None:
    scheme, credential = given
    match scheme:
        case b"bearer":
            known = access.bearer
        case b"basic":
            known = access.basic
        case _:
            return None
    # In constant time: how long it takes must not tell how much of a guess is right.
    return next(
        (name for name, each in known.items() if compare_digest(credential, each.encode())), None
    )


def _ask(broker: Broker) -> str:
    """Return the challenges for WWW-Authenticate: the schemes that this broker has clients for."""
    realm = f'realm="{broker.key}"'
    schemes = ["Bearer"]
    if broker.access is not None and broker.access.basic:
        schemes = ["Bearer", "Basic"] if broker.access.bearer else ["Basic"]
    return ", ".join(f"{scheme} {realm}" for scheme in schemes)
