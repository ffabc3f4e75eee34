"""Files of certificates, authorities and keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from broker.tls.contexts import certificates_fault, pair_fault


@dataclass(slots=True, unsafe_hash=True)
class CaFile:
    """A file of certificate authorities in PEM, which is read again when it has changed.

    ``pem`` is the text that was good last. Making one reads the file, and raises ValueError where
    it is none.
    """

    path: Path
    pem: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.pem = read_certificates(self.path)

    def read_again(self) -> bool:
        """Read it again, and return whether it is another text. Raises ValueError as before."""
        former, self.pem = self.pem, read_certificates(self.path)
        return self.pem != former


def read_certificates(path: Path) -> str:
    """Return the text of a file of certificates; raise ValueError saying what is wrong with it."""
    pem = _read_pem(path)
    fault = certificates_fault(pem)
    if fault is not None:
        raise ValueError(f"{path} {fault}")
    return pem


def read_pair(certificate: Path, key: Path) -> tuple[str, str]:
    """Return the texts of a certificate and its key; raise ValueError likewise."""
    texts = read_certificates(certificate), _read_pem(key)
    fault = pair_fault(*texts, names=(str(certificate), str(key)))
    if fault is not None:
        raise ValueError(" ".join(fault))
    return texts


def _read_pem(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
