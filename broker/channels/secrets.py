"""Reads a broker's Secret: text, flags, certificates. No message shows a value of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from broker.characters import hidden, misfit
from broker.ports import Fault
from broker.tls import certificates_fault, expiries, pair_fault

# As Go reads them, whatever their case.
_FLAGS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_IN_PEM: Final = " \t\r\n"


class SecretReader:
    """A Secret that is read: each method returns None for what is missing or wrong.

    What is wrong, it tells. That something is missing is told where another key needs it.
    """

    def __init__(self, secret: Mapping[str, str], tell: Callable[[Fault], None]) -> None:
        self._secret = secret
        self._tell = tell

    def __contains__(self, key: str) -> bool:
        return key in self._secret

    def wrong(self, key: str, message: str) -> None:
        """Tell what is wrong at ``key``."""
        self._tell(Fault(of="secret", key=key, message=message))

    def doubtful(self, key: str, message: str) -> None:
        """Tell what is doubtful at ``key``."""
        self._tell(Fault(of="secret", key=key, message=message, severity="warning"))

    def text(self, key: str, what: str, *, but: str = " ") -> str | None:
        """Return the value of ``key``, a ``what``, if it has no hidden character."""
        text = self._secret.get(key)
        if text is None:
            return None
        if not text:
            self.wrong(key, "is empty")
            return None
        index = hidden(text, but=but)
        if index is not None:
            self.wrong(key, misfit(text, index, what))
            return None
        return text

    def flag(self, key: str) -> bool | None:
        """Return whether the value of ``key`` is true."""
        text = self.text(key, "flag")
        if text is not None and text.lower() not in _FLAGS:
            self.wrong(key, 'is neither "true" nor "false"')
        return None if text is None else _FLAGS.get(text.lower())

    def certificates(self, key: str, *, all_of_them: bool) -> str | None:
        """Return certificates; warn where the first of them, or all of them, have expired."""
        text = self.text(key, "certificate", but=_IN_PEM)
        if text is None:
            return None
        fault = certificates_fault(text)
        if fault is not None:
            self.wrong(key, fault)
            return None
        until = expiries(text)
        end = max(until if all_of_them else until[:1], default=None)
        if end is not None and end < datetime.now(UTC):
            self.doubtful(key, f"expired on {end:%Y-%m-%d}")
        return text

    def pair(
        self, certificate_key: str, private_key: str, *, needed: str | None = None
    ) -> tuple[str | None, str | None]:
        """Return a certificate and its private key, of no use without each other.

        ``needed`` says what cannot do without them, if anything.
        """
        keys = (certificate_key, private_key)
        missing = [key for key in keys if key not in self]
        for key in missing:
            if needed is not None:
                self.wrong(key, f"is missing; {needed}")
            elif len(missing) == 1:
                (other,) = {*keys} - {key}
                self.wrong(key, f"is missing; '{other}' is of no use without it")
        certificate = self.certificates(certificate_key, all_of_them=False)
        key_text = self.text(private_key, "private key", but=_IN_PEM)
        if certificate is not None and key_text is not None:
            fault = pair_fault(certificate, key_text, names=keys)
            if fault is not None:
                self.wrong(*fault)
        return certificate, key_text
