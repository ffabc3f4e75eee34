"""What the network and TLS tell, in words."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest
import trustme

from broker.connections.faults import said
from tests.services.certificates import make_certificates

HOST = "server.test"


def refused(client: ssl.SSLContext, server: ssl.SSLContext, name: str = HOST) -> ssl.SSLError:
    """Return why the client's handshake with the server fails."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(there, back, server_side=True)
    client_side = client.wrap_bio(back, there, server_hostname=name)
    while (told := advanced(client_side)) is None:
        advanced(server_side)  # which tells the client by an alert
    return told


def advanced(side: ssl.SSLObject) -> ssl.SSLError | None:
    """Go on with the handshake as far as there is something to read, or return what is wrong."""
    try:
        side.do_handshake()
        side.read(1)
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLError as error:
        return error
    return None


def trusting(*authorities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for each in authorities:
        context.load_verify_locations(cadata=each)
    return context


def self_signed() -> ssl.SSLContext:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pems = (authority.private_key_pem, authority.cert_pem)
    with trustme.Blob(b"".join(each.bytes() for each in pems)).tempfile() as path:
        context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(
    "server", [make_certificates(HOST).server, self_signed()], ids=["not at hand", "self-signed"]
)
def test_an_authority_that_is_not_trusted_is_looked_for_where_it_is_said(
    server: ssl.SSLContext,
) -> None:
    error = refused(trusting(make_certificates().authority), server)

    assert isinstance(error, ssl.SSLCertVerificationError)
    told = f"TLS: {error.verify_message}"
    assert said(error) == f"{told}; does 'tls.caCert' have the authority of its certificate?"
    assert said(error, authority="'ca.crt'").endswith(
        "; does 'ca.crt' have the authority of its certificate?"
    )
    assert said(error, authority=None) == told


def test_a_certificate_of_another_name_is_no_matter_of_authorities() -> None:
    certificates = make_certificates(HOST)

    error = refused(trusting(certificates.authority), certificates.server, "other.test")

    assert said(error) == ("TLS: Hostname mismatch, certificate is not valid for 'other.test'.")


def test_a_certificate_of_ours_that_is_missing_is_looked_for_where_it_is_said() -> None:
    certificates = make_certificates(HOST)
    certificates.server.verify_mode = ssl.CERT_REQUIRED

    error = refused(trusting(certificates.authority), certificates.server)

    told = "TLS: TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert said(error) == f"{told}; is 'tls.cert' a certificate that it accepts?"
    assert said(error, certificate="'user.crt'").endswith(
        "; is 'user.crt' a certificate that it accepts?"
    )
    assert said(error, certificate=None) == told


def test_what_a_server_tells_by_tls_itself_is_no_matter_of_its_port() -> None:
    certificates = make_certificates(HOST)
    certificates.server.minimum_version = ssl.TLSVersion.TLSv1_3
    client = trusting(certificates.authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    assert said(refused(client, certificates.server)) == "TLS: TLSV1_ALERT_PROTOCOL_VERSION"


def test_what_speaks_no_tls_may_be_at_another_port() -> None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    back.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    error = advanced(trusting().wrap_bio(back, there, server_hostname=HOST))

    assert error is not None
    assert said(error) == f"TLS: {error.reason}; does it speak TLS at that port?"


def test_a_host_without_an_address_is_said() -> None:
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("server", 1, flags=socket.AI_NUMERICHOST)

    assert said(caught.value) == f"its host name is not known: {caught.value.strerror}"


def test_a_port_where_nobody_listens_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

    with pytest.raises(ConnectionRefusedError) as caught:
        socket.create_connection(address)

    assert said(caught.value) == "Connection refused"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer in time"),
        (TimeoutError("The handshake operation timed out"), "no answer in time"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "no answer in time"),
        (
            OSError("Multiple exceptions: [Errno 111], [Errno 101]"),
            "Multiple exceptions: [Errno 111], [Errno 101]",
        ),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 1)"), "No route to host"),
        (ValueError("label empty or too long"), "label empty or too long"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_what_has_no_words_of_its_own_is_told_as_the_system_has_it(
    error: Exception, words: str
) -> None:
    assert said(error) == words
