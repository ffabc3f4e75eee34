"""The part of a ``spec`` that says by which certificates a server is talked to."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText
from broker.tls import certificates_fault, pair_fault


class Certificates(Shape):
    """Certificates, as PEM texts. Without ``caCert`` the system's authorities are trusted."""

    ca_cert: SecretText | None = None
    cert: SecretText | None = None
    key: SecretText | None = None

    @model_validator(mode="after")
    def _are_whole(self) -> Self:
        if not self._are_used:
            return self
        if (self.cert is None) != (self.key is None):
            raise ValueError("'cert' and 'key' are of no use without each other")
        for name, pem in (("caCert", self.ca_cert), ("cert", self.cert)):
            fault = None if pem is None else certificates_fault(pem.get_secret_value())
            if fault is not None:
                raise ValueError(f"'{name}' {fault}")
        if self.cert is not None and self.key is not None:
            texts = self.cert.get_secret_value(), self.key.get_secret_value()
            wrong = pair_fault(*texts, names=("cert", "key"))
            if wrong is not None:
                raise ValueError(f"'{wrong[0]}' {wrong[1]}")
        return self

    @property
    def _are_used(self) -> bool:
        return True


class Tls(Certificates):
    """Certificates that are used where TLS is switched on, as it is not by the server's URL."""

    enable: bool = False

    @property
    def _are_used(self) -> bool:
        return self.enable
