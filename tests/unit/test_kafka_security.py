"""What a broker's Secret says to the Kafka channel, what it must not say, and what is told then."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import trustme
from aiokafka.admin import AIOKafkaAdminClient
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from broker.channels.kafka.settings import Settings, check, settings

CONFIG: Final = {"bootstrap.servers": "kafka:9092", "auth.secret.ref.name": "kafka"}
SASL: Final = {"protocol": "SASL_PLAINTEXT", "user": "orders", "password": "ses ame"}

AUTHORITY: Final = trustme.CA()
CLIENT: Final = AUTHORITY.issue_cert("client.example.com")
OTHER: Final = AUTHORITY.issue_cert("other.example.com")
YESTERDAY: Final = datetime.now(UTC) - timedelta(days=1)


def pem(certificate: trustme.LeafCert) -> str:
    return "".join(each.bytes().decode() for each in certificate.cert_chain_pems)


def key(certificate: trustme.LeafCert) -> str:
    return certificate.private_key_pem.bytes().decode()


def authority(ca: trustme.CA = AUTHORITY) -> str:
    return ca.cert_pem.bytes().decode()


MUTUAL: Final = {
    "protocol": "SSL",
    "ca.crt": authority(),
    "user.crt": pem(CLIENT),
    "user.key": key(CLIENT),
}


def read(secret: Mapping[str, str]) -> Settings:
    return settings("shop/orders", CONFIG, secret, defaults={})


def faults(secret: Mapping[str, str]) -> list[str]:
    found = check("shop/orders", CONFIG, secret)
    return [f"{each.severity}: {each.key}: {each.message}" for each in found]


# --- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_a_secret_says_user_password_and_mechanism(protocol: str, mechanism: str) -> None:
    secret = {**SASL, "protocol": protocol, "sasl.mechanism": mechanism, "ca.crt": authority()}

    options = read(secret).client_options()

    assert options["security_protocol"] == protocol
    assert options["sasl_mechanism"] == mechanism
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("orders", "ses ame")
    assert (options["ssl_context"] is not None) == (protocol == "SASL_SSL")


def test_the_mechanism_is_plain_unless_the_secret_says_another() -> None:
    assert read(SASL).client_options()["sasl_mechanism"] == "PLAIN"


def test_a_secret_without_a_protocol_is_told() -> None:
    assert faults({"user": "orders", "password": "sesame"}) == [
        "error: protocol: is missing; it is one of PLAINTEXT, SASL_PLAINTEXT, SSL, SASL_SSL"
    ]


def test_an_unknown_protocol_is_told_with_the_one_that_was_meant() -> None:
    (fault,) = faults({**SASL, "protocol": "sasl_plaintxt"})

    assert fault == (
        "error: protocol: is unknown (did you mean 'SASL_PLAINTEXT'?); "
        "known: PLAINTEXT, SASL_PLAINTEXT, SSL, SASL_SSL"
    )


def test_oauthbearer_is_not_supported_yet() -> None:
    (fault,) = faults({"protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"})

    assert fault == (
        "error: sasl.mechanism: is OAUTHBEARER, which is not supported yet; "
        "known: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"
    )


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_sasl_needs_a_user_and_a_password(protocol: str) -> None:
    assert faults({"protocol": protocol}) == [
        f"error: user: is missing; {protocol} needs it",
        f"error: password: is missing; {protocol} needs it",
    ]


def test_ssl_needs_a_certificate_and_its_key_unless_the_secret_says_otherwise() -> None:
    why = "is missing; SSL needs it, unless 'user.skip' is \"true\""

    assert faults({"protocol": "SSL"}) == [
        f"error: user.crt: {why}", f"error: user.key: {why}",
    ]  # fmt: skip
    assert faults({"protocol": "SSL", "user.skip": "false"}) != []
    assert faults({"protocol": "SSL", "user.skip": "True"}) == []
    assert faults({"protocol": "SSL", "user.skip": "yes", **MUTUAL}) == [
        'error: user.skip: is neither "true" nor "false"'
    ]


def test_sasl_over_ssl_takes_a_certificate_too_but_no_half_of_one() -> None:
    secret = {**SASL, **MUTUAL, "protocol": "SASL_SSL"}

    assert faults(secret) == []
    assert read(secret).security.certificate == pem(CLIENT)
    del secret["user.key"]
    assert faults(secret) == ["error: user.key: is missing; 'user.crt' is of no use without it"]


def test_what_the_protocol_has_no_use_for_is_not_looked_at() -> None:
    rest = {"user.p12": "\udcff", "ca.crt": "x", "user.crt": "x", "user.key": "x", "other": ""}

    assert faults({**rest, "protocol": "PLAINTEXT", "user": "", "password": "\n"}) == []
    assert faults({**SASL, **rest}) == []
    assert faults({**rest, "protocol": "SSL", "ca.crt": authority(), "user.skip": "1"}) == []


# --- hidden characters -----------------------------------------------------------------------


@pytest.mark.parametrize("at", ["protocol", "sasl.mechanism", "user", "password"])
@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\n", "U+000A (line feed)"),
        ("\r", "U+000D (carriage return)"),
        ("\u00a0", "U+00A0 (no-break space)"),
        ("\u200b", "U+200B (zero width space)"),
        ("\u202e", "U+202E (right-to-left override)"),
        ("\ufeff", "U+FEFF (byte order mark)"),
    ],
)
def test_a_hidden_character_is_told_with_its_name_and_place(
    at: str, character: str, name: str
) -> None:
    secret = {**SASL, "sasl.mechanism": "PLAIN"}
    text = secret[at]

    (at_the_end,) = faults({**secret, at: f"{text}{character}"})
    (at_the_start,) = faults({**secret, at: f"{character}{text}"})

    what = {"user": "user name", "sasl.mechanism": "mechanism"}.get(at, at)
    hint = "; was it made with 'echo' where 'echo -n' was meant?" if character == "\n" else ""
    has = f"error: {at}: has {name} at character"
    assert at_the_end == f"{has} {len(text) + 1}, which no {what} may have{hint}"
    assert at_the_start == f"{has} 1, which no {what} may have"


def test_a_hidden_character_in_a_certificate_is_told_with_its_line() -> None:
    secret = {**MUTUAL, "ca.crt": authority().replace("-----\n", "-----\n\u200b", 1)}

    (fault,) = faults(secret)

    assert fault == (
        "error: ca.crt: has U+200B (zero width space) at character 1 of line 2, "
        "which no certificate may have"
    )


def test_what_is_empty_or_not_text_is_told() -> None:
    assert faults({**SASL, "user": "", "password": "sesame\udcff"}) == [
        "error: user: is empty", "error: password: is not UTF-8 text",
    ]  # fmt: skip


def test_letters_of_any_language_and_blanks_can_be_in_a_password() -> None:
    assert faults({**SASL, "user": "Zoë", "password": " öffne Dich, 芝麻 "}) == []


def test_no_fault_and_no_repr_shows_a_value() -> None:
    secret = {
        "protocol": "hunter2", "sasl.mechanism": "hunter2", "user": "hunter2\n",
        "password": "hunter2\u200b", "user.skip": "hunter2", "ca.crt": "hunter2",
        "user.crt": pem(CLIENT), "user.key": "hunter2",
    }  # fmt: skip

    told = faults(secret)
    found = read({**SASL, "password": "hunter2"})

    assert len(told) == 7
    assert "hunter2" not in "".join(told)
    assert "hunter2" not in repr(found)


# --- certificates ----------------------------------------------------------------------------


def handshake(client: ssl.SSLContext, *, asks: bool) -> str | None:
    """Shake hands with a server of the authority; return whom it takes the client for."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("kafka.example.com").configure_cert(server)
    if asks:
        AUTHORITY.configure_trust(server)
        server.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="kafka.example.com")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = theirs.getpeercert()
    return str(shown["subjectAltName"][0][1]) if shown else None


def context(secret: Mapping[str, str]) -> ssl.SSLContext:
    found = read(secret).client_options()["ssl_context"]
    assert found is not None
    return found


def test_the_authority_of_the_secret_is_trusted_and_the_certificate_shown() -> None:
    assert handshake(context(MUTUAL), asks=True) == "client.example.com"


def test_no_certificate_is_shown_where_the_secret_skips_it() -> None:
    secret = {**MUTUAL, "user.skip": "true"}

    assert handshake(context(secret), asks=False) is None
    with pytest.raises(ssl.SSLError):
        handshake(context(secret), asks=True)


def test_beside_the_authority_of_the_secret_no_other_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "system.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    secret = {"protocol": "SSL", "user.skip": "true", "ca.crt": authority(trustme.CA())}

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context(secret), asks=False)


def test_the_systems_authorities_are_trusted_where_the_secret_names_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "system.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    pair = {"user.crt": pem(OTHER), "user.key": key(OTHER)}  # a context of its own

    assert handshake(context({"protocol": "SSL", **pair}), asks=True) == "other.example.com"


def test_certificates_come_with_comments_and_with_line_ends_of_windows() -> None:
    secret = {name: text.replace("\n", "\r\n") for name, text in MUTUAL.items()}
    secret["ca.crt"] = f"# Főtanúsítvány\r\n{secret['ca.crt']}"

    assert faults(secret) == []
    assert handshake(context(secret), asks=True) == "client.example.com"


@pytest.mark.parametrize("text", ["x", "-----BEGIN CERTIFICATE-----\n", key(CLIENT)])
@pytest.mark.parametrize("at", ["ca.crt", "user.crt"])
def test_what_is_no_certificate_is_told(at: str, text: str) -> None:
    assert faults({**MUTUAL, at: text}) == [f"error: {at}: holds no certificates in PEM format"]


@pytest.mark.parametrize("text", ["x", "-----BEGIN PRIVATE KEY-----\n", pem(CLIENT)])
def test_what_is_no_private_key_is_told(text: str) -> None:
    assert faults({**MUTUAL, "user.key": text}) == [
        "error: user.key: holds no private key in PEM format"
    ]


@pytest.mark.parametrize("at", ["ca.crt", "user.key"])
def test_what_was_encoded_twice_is_told(at: str) -> None:
    (fault,) = faults({**MUTUAL, at: "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"})

    assert fault.endswith("in PEM format, but the base64 of it: was it encoded twice?")


@pytest.mark.parametrize("kind", list(trustme.KeyType))
def test_a_key_that_belongs_to_another_certificate_is_told(kind: trustme.KeyType) -> None:
    other = AUTHORITY.issue_cert("other.example.com", key_type=kind)

    assert faults({**MUTUAL, "user.key": key(other)}) == [
        "error: user.key: does not belong to the certificate in 'user.crt'"
    ]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_is_told_and_no_password_asked_for(form: PrivateFormat) -> None:
    plain = load_pem_private_key(CLIENT.private_key_pem.bytes(), password=None)
    encrypted = plain.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"sesame"))

    assert faults({**MUTUAL, "user.key": encrypted.decode()}) == [
        "error: user.key: is encrypted; store what `openssl pkey -in FILE` makes of it"
    ]


def self_signed(size: int, until: datetime) -> dict[str, str]:
    """Return a pair with an RSA key of so many bits, valid from 1990 on."""
    key = rsa.generate_private_key(65537, size)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "orders")])
    certificate = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(1990, 1, 1, tzinfo=UTC),
        not_valid_after=until,
    ).sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "user.crt": certificate.public_bytes(Encoding.PEM).decode(),
        "user.key": private.decode(),
    }


def test_a_certificate_that_openssl_refuses_is_told_with_its_reason() -> None:
    secret = {**MUTUAL, **self_signed(1024, datetime(2100, 1, 1, tzinfo=UTC))}

    assert faults(secret) == ["error: user.crt: is refused by OpenSSL: EE_KEY_TOO_SMALL"]


@pytest.mark.parametrize("year", [1999, 2020])
def test_a_certificate_that_has_expired_is_doubtful(year: int) -> None:
    secret = {**MUTUAL, **self_signed(2048, datetime(year, 12, 31, tzinfo=UTC))}

    assert faults(secret) == [f"warning: user.crt: expired on {year}-12-31"]
    assert read(secret).security.certificate == secret["user.crt"]


@pytest.mark.parametrize("year", [2049, 2050, 9999])
def test_a_certificate_for_years_to_come_is_not_doubtful(year: int) -> None:
    assert faults({**MUTUAL, **self_signed(2048, datetime(year, 1, 1, tzinfo=UTC))}) == []


def test_authorities_are_doubtful_once_all_of_them_have_expired() -> None:
    expired = pem(AUTHORITY.issue_cert("a", not_before=YESTERDAY, not_after=YESTERDAY))

    assert faults({**MUTUAL, "ca.crt": expired}) == [
        f"warning: ca.crt: expired on {YESTERDAY:%Y-%m-%d}"
    ]
    assert faults({**MUTUAL, "ca.crt": expired + authority()}) == []


def test_of_a_clients_chain_its_own_certificate_is_asked_for_its_date() -> None:
    expired = pem(AUTHORITY.issue_cert("a", not_before=YESTERDAY, not_after=YESTERDAY))
    pair = self_signed(2048, YESTERDAY)

    assert faults({**MUTUAL, "user.crt": pem(CLIENT) + expired}) == []
    assert len(faults({**MUTUAL, **pair, "user.crt": pair["user.crt"] + authority()})) == 1


def test_where_a_key_has_to_be_in_a_file_nothing_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = AUTHORITY.issue_cert("new.example.com")
    secret = {**MUTUAL, "user.crt": pem(client), "user.key": key(client)}

    assert handshake(context(secret), asks=True) == "new.example.com"
    assert faults({**secret, "user.key": key(OTHER)}) != []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "secret",
    [{"protocol": "PLAINTEXT"}, SASL, MUTUAL, {**SASL, **MUTUAL, "protocol": "SASL_SSL"}],
)
async def test_the_clients_of_aiokafka_take_the_options(secret: Mapping[str, str]) -> None:
    client = AIOKafkaAdminClient(**read(secret).client_options())

    await client.close()
