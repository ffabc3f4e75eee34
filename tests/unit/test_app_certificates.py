"""What is said of the files of a port's certificate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from broker.app.certificates import PortCertificate
from broker.errors import CemeshError
from broker.settings import TlsFiles
from tests.services.certificates import Authority, SecretVolume


@pytest.fixture
def secret(tmp_path: Path) -> SecretVolume:
    """Return files that are as they should be."""
    authority, secret = Authority(), SecretVolume(tmp_path / "secret")
    secret.put(authority.issue(), authority.pem)
    return secret


def files_of(secret: SecretVolume) -> TlsFiles:
    return TlsFiles(
        certificate=secret.certificate, key=secret.key, client_ca=secret.folder / "ca.crt"
    )


def encrypt(key: Path) -> None:
    read = load_pem_private_key(key.read_bytes(), password=None)
    encrypted = read.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame")
    )
    key.write_bytes(encrypted)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda _: None, None),
        (lambda it: it.certificate.unlink(), "tls.crt cannot be read: No such file or directory"),
        (lambda it: it.key.unlink(), "tls.key cannot be read: No such file or directory"),
        (lambda it: it.authority.unlink(), "ca.crt cannot be read: No such file or directory"),
        (lambda it: it.certificate.write_text(""), "tls.crt holds no certificates in PEM format"),
        (lambda it: it.authority.write_text("x"), "ca.crt holds no certificates in PEM format"),
        (lambda it: it.key.write_text("sesame"), "tls.key holds no private key in PEM format"),
        (
            lambda it: it.key.write_bytes(Authority().issue().key),
            "tls.key does not belong to the certificate in '{folder}/tls.crt'",
        ),
        (lambda it: encrypt(it.key), "tls.key is encrypted; store what `openssl pkey -in FILE`"),
    ],
)
def test_each_fault_is_told_with_its_file(
    secret: SecretVolume, spoil: Callable[[SecretVolume], object], told: str | None
) -> None:
    spoil(secret)

    if told is None:
        PortCertificate("data", files_of(secret), {})
        return
    with pytest.raises(CemeshError) as caught:
        PortCertificate("data", files_of(secret), {})

    expected = told.format(folder=secret.folder)
    assert str(caught.value).startswith(
        f"the data port cannot speak TLS: {secret.folder}/{expected}"
    )
    assert "sesame" not in str(caught.value)


def test_a_certificate_and_its_key_may_be_in_one_file(tmp_path: Path) -> None:
    issued, file = Authority().issue(), tmp_path / "both.pem"
    file.write_bytes(issued.key + issued.certificate)
    expiring: dict[str, datetime] = {}

    PortCertificate("data", TlsFiles(certificate=file, key=file), expiring)

    assert expiring == {"data": issued.expires}


def test_files_that_hold_the_same_as_before_make_no_other_context(secret: SecretVolume) -> None:
    certificate = PortCertificate("data", files_of(secret), {})
    former = certificate.context

    secret.key.write_bytes(secret.key.read_bytes())
    certificate.read_again()

    assert certificate.context is former


def test_the_first_of_the_certificates_to_expire_is_what_is_told(tmp_path: Path) -> None:
    authority = Authority()
    issued, behind = authority.issue(), authority.issue(valid_for=timedelta(hours=-1))
    secret = SecretVolume(tmp_path / "secret")
    secret.put(issued, authority.pem)
    secret.certificate.write_bytes(issued.certificate + behind.certificate)
    expiring: dict[str, datetime] = {}

    PortCertificate("admin", files_of(secret), expiring)

    assert expiring == {"admin": behind.expires}
