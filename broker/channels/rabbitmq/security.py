"""What a broker's Secret says: where the RabbitMQ server is, and as whom to come.

The keys are those of the Secrets that RabbitMQ's cluster operator makes, and that Knative's
``connectionSecret`` names; those of certificates are Kubernetes' own. No message and no `repr`
shows a value of a Secret.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Final

from broker.channels.secrets import SecretReader
from broker.connections.rabbitmq.address import (
    NOT_A_URL,
    TLS_PORT,
    Address,
    default_port,
    is_host,
    parse_address,
    parse_port,
)
from broker.tls import tls_context

USER: Final = "username"
PASSWORD: Final = "password"  # noqa: S105 - the name of a key
HOST: Final = "host"
PORT: Final = "port"
TLS: Final = "ssl"
CONNECTION: Final = "connection_string"
URI: Final = "uri"
CA: Final = "ca.crt"
CERTIFICATE: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"

# Knative's is that of the management API: of it, the host counts.
_MANAGEMENT: Final = re.compile(r"(?:https?://)?([^/:@\[\]]+|\[[^/@\[\]]+\])(?::[0-9]+)?/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """As whom to come: by user and password, or by a certificate.

    ``ca_certs``, ``certificate`` and ``private_key`` are PEM texts. Without ``ca_certs`` the
    system's authorities are trusted.
    """

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_certs: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """Return the context of TLS connections."""
        return tls_context(self.ca_certs, self.certificate, self.private_key)


def read_address(reading: SecretReader) -> Address | None:
    """Return the server that the Secret names, if any, and tell what is wrong."""
    if HOST in reading:
        host = reading.text(HOST, "host name")
        if host is not None and is_host(host):
            return _at(reading, host)
        if host is not None:
            reading.wrong(HOST, "is no name of a host")
        return None
    for key in (CONNECTION, URI):
        text = reading.text(key, "URL")
        if text is not None:
            return _of_url(reading, key, text)
    return None


def read_security(reading: SecretReader, address: Address | None, *, tls: bool | None) -> Security:
    """Return as whom to come, and tell what is wrong.

    ``address`` is the Secret's own, ``tls`` whether there will be any, or None where that is not
    known yet. Certificates are not looked at where they have no use.
    """
    user, password = reading.text(USER, "user name"), reading.text(PASSWORD, "password")
    if USER not in reading and PASSWORD not in reading and address is not None:
        user, password = address.user, address.password
    for key, other in ((USER, PASSWORD), (PASSWORD, USER)):
        if key not in reading and other in reading:
            reading.wrong(key, f"is missing; '{other}' is of no use without it")
    ca_certs = certificate = private_key = None
    if tls is not False:
        ca_certs = reading.certificates(CA, all_of_them=True)
        certificate, private_key = reading.pair(CERTIFICATE, PRIVATE_KEY)
    elif CA in reading or CERTIFICATE in reading:
        key = CA if CA in reading else CERTIFICATE
        reading.doubtful(key, "is of no use: the connection is without TLS")
    known = (USER, PASSWORD, CERTIFICATE, PRIVATE_KEY)
    if user is None and not any(key in reading for key in known):
        reading.wrong(USER, f"is missing, and so is a certificate in '{CERTIFICATE}'")
    return Security(
        user=user,
        password=password,
        ca_certs=ca_certs,
        certificate=certificate,
        private_key=private_key,
    )


def _of_url(reading: SecretReader, key: str, text: str) -> Address | None:
    management = _MANAGEMENT.fullmatch(text)
    if key == URI and management is not None and is_host(management[1]):
        return _at(reading, management[1])
    try:
        return parse_address(text)
    except ValueError as error:
        or_of_management = (
            ", nor http://HOST:PORT" if key == URI and str(error) == NOT_A_URL else ""
        )
        reading.wrong(key, f"{error}{or_of_management}")
        return None


def _at(reading: SecretReader, host: str) -> Address | None:
    """Return the server at that host; its port tells TLS where nothing else does."""
    tls, text = reading.flag(TLS), reading.text(PORT, "port")
    port = None
    if text is not None:
        try:
            port = parse_port(text)
        except ValueError:
            reading.wrong(PORT, "is no number from 1 to 65535")
    if (tls is None and TLS in reading) or (port is None and PORT in reading):
        return None
    if tls is None:
        tls = port == TLS_PORT
    return Address(host=host, port=port or default_port(tls=tls), tls=tls)
