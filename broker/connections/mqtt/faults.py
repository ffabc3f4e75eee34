"""Why an MQTT server cannot be used, in words."""

from __future__ import annotations

import os
import ssl
from typing import Final

import aiomqtt
from paho.mqtt.client import error_string
from paho.mqtt.reasoncodes import ReasonCode

_NOT_AUTHORISED: Final = frozenset({0x86, 0x87})
_TAKEN_OVER: Final = 0x8E
_UNSPECIFIED: Final = 0x80
_KEEP_ALIVE: Final = 0x8D

FAULTS: Final = (aiomqtt.MqttError, OSError, TimeoutError)
"""What `Connection` raises where the server is away, or does not let us in."""


def said(error: BaseException) -> str:
    """Return in words what the server or the network told, and where to look, if that is known."""
    match error:
        case aiomqtt.MqttCodeError(rc=ReasonCode() as reason):
            return _reason(reason)
        case aiomqtt.MqttCodeError(rc=int(code)):
            return error_string(code)
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return f"TLS: {error.verify_message}; is its authority in 'tls.caCert'?"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}"
        case ConnectionResetError(errno=None):
            return "it closed the connection; does it expect TLS, or a certificate?"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
    return str(error) or type(error).__name__


def _reason(reason: ReasonCode) -> str:
    name = str(reason)
    if reason.value in _NOT_AUTHORISED:
        return f"{name}; are 'user' and 'password' those that it knows, and may they do that?"
    if reason.value == _TAKEN_OVER:
        return f"{name}; does another client call itself by the same 'clientId'?"
    if reason.value == _KEEP_ALIVE:
        return "no answer in time"
    return "it closed the connection" if reason.value == _UNSPECIFIED else name
