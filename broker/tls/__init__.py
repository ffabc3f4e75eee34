"""Certificates and private keys in PEM: what is wrong with them, and TLS by them.

``der`` reads what stands in certificates, ``contexts`` makes TLS of the texts, ``files`` reads the
texts.
"""

from broker.tls.contexts import (
    certificates_fault,
    pair_fault,
    pinned_context,
    server_context,
    tls_context,
)
from broker.tls.der import expiries, serial
from broker.tls.files import CaFile, read_certificates, read_pair

__all__ = [
    "CaFile",
    "certificates_fault",
    "expiries",
    "pair_fault",
    "pinned_context",
    "read_certificates",
    "read_pair",
    "serial",
    "server_context",
    "tls_context",
]
