r"""The names of exchanges and queues: readable, and the same whoever makes them up.

============================  ==========================================================
``b.shop.orders``             the exchange of the broker ``shop/orders``
``b.shop.orders#PART``        what else the broker has
``b.shop.orders#PART:P:a:b``  what it has for the source ``P a/b``
``t.shop.orders:audit``       the queue of the broker's trigger ``shop/audit``
``t.shop.orders:a:audit``     the queue of its trigger ``a/audit``, of another namespace
``t.shop.orders:x#PART``      what else its trigger ``shop/x`` has
============================  ==========================================================

So a policy for all queues of one broker's triggers has the pattern ``^t\.shop\.orders:``. No
namespace, broker or trigger of Kubernetes has a ``:`` or a ``#`` in its name; in names that could
not be there, what is special is percent-encoded, with ``+`` for the sign, which pamqp lets pass.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final
from urllib.parse import quote

_LONGEST: Final = 255
_DIGITS: Final = 32
_SOURCE: Final = re.compile("([^ /]+) ([^ /]+)/([^ /]+)")


def broker_name(broker: str, part: str | None = None) -> str:
    """Return the name of the exchange of ``namespace/name``, or of a part of the broker."""
    return _name(f"b.{_dotted(broker)}", part)


def trigger_name(broker: str, trigger: str, part: str | None = None) -> str:
    """Return the name of the queue of a broker's trigger, or of a part of the trigger.

    Both are ``namespace/name``.
    """
    of_broker, _ = _split(broker)
    namespace, name = _split(trigger)
    path = [name] if namespace == of_broker else [namespace, name]
    return _name(":".join([f"t.{_dotted(broker)}", *map(_quoted, path)]), part)


def source_name(broker: str, part: str, source: str) -> str:
    """Return the name of what a broker has for a source, ``Kind namespace/name`` or any text."""
    found = _SOURCE.fullmatch(source)
    path = [source] if found is None else found.groups()
    return _cut(":".join([f"b.{_dotted(broker)}#{_quoted(part)}", *map(_quoted, path)]))


def _name(base: str, part: str | None) -> str:
    return _cut(base if part is None else f"{base}#{_quoted(part)}")


def _cut(name: str) -> str:
    """Return the name, within AMQP's limit: of one that is longer, a digest tells it apart."""
    if len(name) <= _LONGEST:
        return name
    digest = sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{name[: _LONGEST - _DIGITS - 1]}@{digest}"


def _dotted(key: str) -> str:
    namespace, name = _split(key)
    # A name may have dots in it, a namespace may not: so the first one is what parts them.
    return f"{_quoted(namespace).replace('.', '+2E')}.{_quoted(name)}"


def _split(key: str) -> tuple[str, str]:
    namespace, slash, name = key.partition("/")
    return (namespace, name) if slash else ("", namespace)


def _quoted(text: str) -> str:
    quoted = quote(text, safe="", errors="surrogatepass")
    return quoted.replace("%", "+").replace("~", "+7E")
