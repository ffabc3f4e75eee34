"""What a broker's Secret says: how to connect to Kafka, and as whom.

The keys and their meaning are those of Knative's broker for Apache Kafka. No message and no
`repr` shows a value of a Secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from broker.channels.kafka.tls import (
    USER_CERTIFICATE,
    USER_KEY,
    certificates_fault,
    expiries,
    pair_fault,
    tls_context,
)
from broker.characters import hidden, misfit
from broker.errors import did_you_mean
from broker.ports import Fault

PROTOCOL: Final = "protocol"
MECHANISM: Final = "sasl.mechanism"
USER: Final = "user"
PASSWORD: Final = "password"  # noqa: S105 - the name of a key
CA: Final = "ca.crt"
USER_SKIP: Final = "user.skip"

_PROTOCOLS: Final = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# As Go reads them, whatever their case.
_FLAGS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_IN_PEM: Final = " \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How to connect, and as whom: by user and password, or by a certificate, or both.

    ``ca_certs``, ``certificate`` and ``private_key`` are PEM texts. Without ``ca_certs`` the
    system's authorities are trusted.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_certs: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext | None:
        """Return the context of TLS connections, or None where the protocol is without TLS."""
        if not _is_tls(self.protocol):
            return None
        return tls_context(self.ca_certs, self.certificate, self.private_key)


def read_security(secret: Mapping[str, str], tell: Callable[[Fault], None]) -> Security:
    """Return what the Secret says, and tell what is wrong.

    What is wrong is left out of the result, which is then not to be used. Keys that the
    protocol has no use for are not looked at.
    """
    reading = _Reading(secret, tell)
    protocol = reading.protocol()
    mechanism = user = password = ca_certs = certificate = private_key = None
    if protocol is None or protocol.startswith("SASL_"):
        mechanism = reading.choice(MECHANISM, _MECHANISMS, default="PLAIN")
        # What another mechanism may need is not known.
        needed_by = None if mechanism is None else protocol
        user = reading.credential(USER, "user name", needed_by)
        password = reading.credential(PASSWORD, "password", needed_by)
    if protocol is None or _is_tls(protocol):
        ca_certs = reading.certificates(CA, all_of_them=True)
        if not reading.skips_user():
            certificate, private_key = reading.pair(protocol)
    return Security(
        protocol=protocol or "PLAINTEXT",
        mechanism=mechanism or "PLAIN",
        user=user,
        password=password,
        ca_certs=ca_certs,
        certificate=certificate,
        private_key=private_key,
    )


def _is_tls(protocol: str) -> bool:
    return protocol.endswith("SSL")


class _Reading:
    """A Secret that is read: each method returns None for what is missing or wrong."""

    def __init__(self, secret: Mapping[str, str], tell: Callable[[Fault], None]) -> None:
        self._secret = secret
        self._tell = tell

    def _wrong(self, key: str, message: str) -> None:
        self._tell(Fault(of="secret", key=key, message=message))

    def protocol(self) -> str | None:
        if PROTOCOL not in self._secret:
            self._wrong(PROTOCOL, f"is missing; it is one of {', '.join(_PROTOCOLS)}")
        return self.choice(PROTOCOL, _PROTOCOLS, default=None)

    def choice(self, key: str, known: Sequence[str], *, default: str | None) -> str | None:
        text = self._text(key, key.removeprefix("sasl.")) if key in self._secret else default
        if text is None or text in known:
            return text
        fault = "OAUTHBEARER, which is not supported yet" if text == "OAUTHBEARER" else "unknown"
        hint = did_you_mean(text, known)
        self._wrong(key, f"is {fault}{hint}; known: {', '.join(known)}")
        return None

    def credential(self, key: str, what: str, needed_by: str | None) -> str | None:
        if needed_by is not None and key not in self._secret:
            self._wrong(key, f"is missing; {needed_by} needs it")
        return self._text(key, what)

    def certificates(self, key: str, *, all_of_them: bool) -> str | None:
        """Return certificates; warn where the first of them, or all of them, have expired."""
        text = self._text(key, "certificate", but=_IN_PEM)
        if text is None:
            return None
        fault = certificates_fault(text)
        if fault is not None:
            self._wrong(key, fault)
            return None
        until = expiries(text)
        end = max(until if all_of_them else until[:1], default=None)
        if end is not None and end < datetime.now(UTC):
            message = f"expired on {end:%Y-%m-%d}"
            self._tell(Fault(of="secret", key=key, message=message, severity="warning"))
        return text

    def skips_user(self) -> bool:
        text = self._text(USER_SKIP, "flag")
        if text is not None and text.lower() not in _FLAGS:
            self._wrong(USER_SKIP, 'is neither "true" nor "false"')
        return text is not None and _FLAGS.get(text.lower(), False)

    def pair(self, protocol: str | None) -> tuple[str | None, str | None]:
        """Return the client's certificate and its private key: SSL needs both."""
        keys = (USER_CERTIFICATE, USER_KEY)
        missing = [key for key in keys if key not in self._secret]
        for key in missing:
            if protocol == "SSL":
                self._wrong(key, f"is missing; SSL needs it, unless '{USER_SKIP}' is \"true\"")
            elif len(missing) == 1:
                (other,) = {*keys} - {key}
                self._wrong(key, f"is missing; '{other}' is of no use without it")
        certificate = self.certificates(USER_CERTIFICATE, all_of_them=False)
        private_key = self._text(USER_KEY, "private key", but=_IN_PEM)
        if certificate is not None and private_key is not None:
            fault = pair_fault(certificate, private_key)
            if fault is not None:
                self._wrong(*fault)
        return certificate, private_key

    def _text(self, key: str, what: str, *, but: str = " ") -> str | None:
        """Return the value of ``key``, a ``what``, if it has no hidden character."""
        text = self._secret.get(key)
        if text is None:
            return None
        if not text:
            self._wrong(key, "is empty")
            return None
        index = hidden(text, but=but)
        if index is not None:
            self._wrong(key, misfit(text, index, what))
            return None
        return text
