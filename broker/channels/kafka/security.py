"""What a broker's Secret says: how to connect to Kafka, and as whom.

The keys and their meaning are those of Knative's broker for Apache Kafka. No message and no
`repr` shows a value of a Secret.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from broker.channels.secrets import SecretReader
from broker.errors import did_you_mean
from broker.ports import Fault
from broker.tls import tls_context

PROTOCOL: Final = "protocol"
MECHANISM: Final = "sasl.mechanism"
USER: Final = "user"
PASSWORD: Final = "password"  # noqa: S105 - the name of a key
CA: Final = "ca.crt"
USER_CERTIFICATE: Final = "user.crt"
USER_KEY: Final = "user.key"
USER_SKIP: Final = "user.skip"

_PROTOCOLS: Final = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


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
    reading = SecretReader(secret, tell)
    protocol = _protocol(reading)
    mechanism = user = password = ca_certs = certificate = private_key = None
    if protocol is None or protocol.startswith("SASL_"):
        mechanism = _choice(reading, MECHANISM, _MECHANISMS, default="PLAIN")
        # What another mechanism may need is not known.
        needed_by = None if mechanism is None else protocol
        user = _credential(reading, USER, "user name", needed_by)
        password = _credential(reading, PASSWORD, "password", needed_by)
    if protocol is None or _is_tls(protocol):
        ca_certs = reading.certificates(CA, all_of_them=True)
        if not reading.flag(USER_SKIP):
            needed = f"SSL needs it, unless '{USER_SKIP}' is \"true\""
            certificate, private_key = reading.pair(
                USER_CERTIFICATE, USER_KEY, needed=needed if protocol == "SSL" else None
            )
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


def _protocol(reading: SecretReader) -> str | None:
    if PROTOCOL not in reading:
        reading.wrong(PROTOCOL, f"is missing; it is one of {', '.join(_PROTOCOLS)}")
    return _choice(reading, PROTOCOL, _PROTOCOLS, default=None)


def _choice(
    reading: SecretReader, key: str, known: Sequence[str], *, default: str | None
) -> str | None:
    text = reading.text(key, key.removeprefix("sasl.")) if key in reading else default
    if text is None or text in known:
        return text
    fault = "OAUTHBEARER, which is not supported yet" if text == "OAUTHBEARER" else "unknown"
    hint = did_you_mean(text, known)
    reading.wrong(key, f"is {fault}{hint}; known: {', '.join(known)}")
    return None


def _credential(reading: SecretReader, key: str, what: str, needed_by: str | None) -> str | None:
    if needed_by is not None and key not in reading:
        reading.wrong(key, f"is missing; {needed_by} needs it")
    return reading.text(key, what)
