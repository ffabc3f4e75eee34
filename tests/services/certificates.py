"""A certificate authority of one's own, for tests over TLS."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The authority's certificate as PEM text, and a server's context that it vouches for."""

    authority: str
    server: ssl.SSLContext


def make_certificates(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificates:
    """Make an authority and a server certificate for ``names`` (subjectAltName) in ``folder``."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    new = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _req(
        folder,
        *(*new, "-days", "2", "-subj", "/CN=Test authority"),
        *("-addext", "keyUsage=critical,keyCertSign"),
        *("-keyout", "ca.key", "-out", "ca.pem"),
    )
    _req(
        folder,
        *(*new, "-days", "2", "-subj", "/CN=Test server", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-keyout", "server.key", "-out", "server.pem"),
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    return Certificates(authority=(folder / "ca.pem").read_text(), server=server)


def _req(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", "req", *arguments], cwd=folder, check=True, capture_output=True)
