"""Reads Knative's ``auth`` of a KafkaSink: a Secret that says how to connect, and as whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator, ValidationError, ValidationInfo

from broker.connections.kafka import Net
from broker.errors import did_you_mean
from broker.manifest.specs import Reveal, revealing

_PROTOCOLS: Final = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
_FORM: Final = "secret: {ref: {name: …}}, of a Secret in these files"

_SASL: Final = {"sasl.mechanism": "type", "user": "user", "password": "password"}
_TLS: Final = {"ca.crt": "caCert", "user.crt": "cert", "user.key": "key"}
_FIELDS: Final = {**_SASL, **_TLS}
_KEYS: Final = {field: key for key, field in _FIELDS.items()}
_FIELD: Final = re.compile(f"'({'|'.join(_KEYS)})'")


def _read(value: object, info: ValidationInfo) -> Net:
    reveal = revealing(info)
    match value:
        case {"secret": {"ref": {"name": str(name), **more}, **others}, **rest} if reveal:
            if more or others or rest:
                raise ValueError(f"must be no more than {_FORM}")
            return _net(_texts(name, reveal))
        case Mapping() if reveal is None:
            return _net(value)
    raise ValueError(f"must be {_FORM}")


def _texts(name: str, reveal: Reveal) -> Mapping[str, str]:
    """Return what there is of the keys that are looked at; ``protocol`` has to be there."""
    found = {"protocol": reveal(name, "protocol")}
    for key in ("user.skip", *_FIELDS):
        try:
            found[key] = reveal(name, key)
        except ValueError:  # what the protocol needs is asked for by `Net`
            continue
    return found


def _net(texts: Mapping[str, str]) -> Net:
    protocol = texts.get("protocol", "")
    if protocol not in _PROTOCOLS:
        hint = did_you_mean(protocol, _PROTOCOLS)
        known = ", ".join(_PROTOCOLS)
        raise ValueError(f"'protocol' in the Secret is not known{hint}; known: {known}")
    shown = _TLS if texts.get("user.skip", "").lower() != "true" else {"ca.crt": "caCert"}
    sasl = {field: texts[key] for key, field in _SASL.items() if key in texts}
    tls = {field: texts[key] for key, field in shown.items() if key in texts}
    try:
        return Net.model_validate(
            {
                "sasl": {"enable": protocol.startswith("SASL_"), **sasl},
                "tls": {"enable": protocol.endswith("SSL"), **tls},
            }
        )
    except ValidationError as refusal:
        [fault, *_] = refusal.errors(include_input=False)
        told = fault["msg"].removeprefix("Value error, ")
        by_key = _FIELD.sub(lambda found: f"'{_KEYS[found[1]]}'", told)
    raise ValueError(f"in the Secret, {by_key}")


NetOfSecret = Annotated[Net, BeforeValidator(_read)]
"""Net, as a Secret has it, with the keys of Knative's broker for Apache Kafka.

Outside of a manifest, in a test say, it takes what the Secret would have, by key.
"""
