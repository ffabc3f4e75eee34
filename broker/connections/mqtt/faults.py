"""Why an MQTT server cannot be used, in words."""

from __future__ import annotations

from typing import Final

import aiomqtt
from paho.mqtt.client import error_string
from paho.mqtt.reasoncodes import ReasonCode

from broker.connections import faults

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
        case ConnectionResetError(errno=None):
            return "it closed the connection; does it expect TLS, or a certificate?"
    return faults.said(error)


def _reason(reason: ReasonCode) -> str:
    name = str(reason)
    if reason.value in _NOT_AUTHORISED:
        return f"{name}; are 'user' and 'password' those that it knows, and may they do that?"
    if reason.value == _TAKEN_OVER:
        return f"{name}; does another client call itself by the same 'clientId'?"
    if reason.value == _KEEP_ALIVE:
        return "no answer in time"
    return "it closed the connection" if reason.value == _UNSPECIFIED else name
