"""How the API server is reached: from within its cluster, or by a kubeconfig file."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from yarl import URL

from broker.errors import UpstreamUnavailable
from broker.tls import certificates_fault, pair_fault, tls_context

_LARGEST: Final = 1 << 20

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(slots=True, kw_only=True)
class Access:
    """Where the API server is, and who we are to it.

    ``token`` returns the bearer token of now, or None where there is none; it reads files, and
    raises `UpstreamUnavailable`. ``server_name`` is what its certificate has to say, where that is
    not the host of ``url``. ``again`` reads all of it once more; it does as ``token`` does.
    """

    url: URL
    tls: ssl.SSLContext | None
    server_name: str | None
    token: Callable[[], str | None]
    again: Callable[[], Access] | None = None

    def renew(self) -> bool:
        """Read it all once more, where it can be, and return whether it could. Reads files."""
        if self.again is None:
            return False
        try:
            found = self.again()
        except UpstreamUnavailable:
            return False  # such as a file that is being written: what we had may do yet
        self.url, self.tls, self.server_name = found.url, found.tls, found.server_name
        self.token = found.token
        return True


def in_cluster(account: Path = SERVICE_ACCOUNT, *, otherwise: str = "spec.kubeconfig") -> Access:
    """Return the access that Kubernetes gives to a pod. Reads files; raises `UpstreamUnavailable`.

    The token is read for each request, as it is another one every hour. ``otherwise`` says where
    there is no cluster how one is named.
    """
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{each}") for each in ("HOST", "PORT"))
    if not host or not port:
        raise UpstreamUnavailable(
            "there is no Kubernetes around: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT "
            f"are not set; outside of a cluster, {otherwise} says which one is meant"
        )
    return Access(
        url=URL.build(scheme="https", host=host, port=int(port)),
        tls=tls(text_in(account / "ca.crt"), None, None, where=f"in {account}"),
        server_name=None,
        token=token_in(account / "token"),
        again=partial(in_cluster, account),
    )


def token_in(path: Path) -> Callable[[], str]:
    """Return what reads the token in that file."""

    def read() -> str:
        token = text_in(path).strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise UpstreamUnavailable(f"{path} holds no token")
        return token

    return read


def tls(
    ca_certs: str | None, certificate: str | None, key: str | None, *, where: str
) -> ssl.SSLContext:
    """Return TLS by PEM texts; raises `UpstreamUnavailable`, which says ``where`` they are."""
    for name, pem in (("the authority", ca_certs), ("the client certificate", certificate)):
        fault = None if pem is None else certificates_fault(pem)
        if fault is not None:
            raise UpstreamUnavailable(f"{name} {where} {fault}")
    if (certificate is None) != (key is None):
        raise UpstreamUnavailable(f"a client certificate and its key {where} are both needed")
    if certificate is not None and key is not None:
        wrong = pair_fault(certificate, key, names=("the client certificate", "the client key"))
        if wrong is not None:
            raise UpstreamUnavailable(f"{wrong[0]} {where} {wrong[1]}")
    return tls_context(ca_certs, certificate, key)


def text_in(path: Path) -> str:
    """Return what the file holds, at most 1 MiB. Raises `UpstreamUnavailable`."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise UpstreamUnavailable(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise UpstreamUnavailable(f"{path} is longer than {_LARGEST} bytes")
    return content.decode(errors="replace")
