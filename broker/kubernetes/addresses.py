"""Where objects of a cluster take events, as they say themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.connections.kubernetes.collections import Object
from broker.manifest.destinations import Address
from broker.tls import certificates_fault

_HTTPS: Final = 443


def of_service(found: Object, domain: str) -> Address | str:
    """Return where a Service takes events, or why that is not known.

    That is its port 80, where it has that; or else the only one, or the one that is named http.
    """
    meta = found["metadata"]
    host = f"{meta['name']}.{meta['namespace']}.svc.{domain}"
    ports = _list(_dict(found.get("spec")).get("ports"))
    port = _port(ports)
    if port is None and ports:
        told = ", ".join(_told(each) for each in ports)
        return (
            f"the Service {meta['namespace']}/{meta['name']} has neither a port 80 nor one named "
            f"http, and several others ({told}): say which, by a 'uri' in place of the 'ref'"
        )
    if port is None or port.get("port") == 80:
        return Address(url=f"http://{host}")
    number = port.get("port")
    if number == _HTTPS or port.get("name") == "https" or port.get("appProtocol") == "https":
        return Address(url=f"https://{host}" + (f":{number}" if number != _HTTPS else ""))
    return Address(url=f"http://{host}:{number}")


def of_addressable(found: Object) -> Address | str:
    """Return where an object takes events that has an address in its status, as Knative's have.

    Or why that is not known.
    """
    status = _dict(found.get("status"))
    addresses = [_dict(status.get("address")), *map(_dict, _list(status.get("addresses")))]
    address = next((each for each in addresses if isinstance(each.get("url"), str)), None)
    subject = (
        f"{found['kind']} {found['metadata'].get('namespace', '')}/{found['metadata']['name']}"
    )
    if address is None:
        ready = [each for each in _list(status.get("conditions")) if each.get("type") == "Ready"]
        why = "".join(f": {each['message']}" for each in ready if each.get("message"))
        return f"the {subject} has no address in its status{why or ' yet'}"
    ca_certs = address.get("CACerts")
    if ca_certs is not None:
        fault = certificates_fault(str(ca_certs))
        if fault is not None:
            return f"the CACerts in the status of the {subject}: {fault}"
    return Address(url=address["url"], ca_certs=ca_certs, audience=address.get("audience"))


def addressable_essence(found: Object) -> Object:
    """Return what `of_addressable` asks for."""
    status = _dict(found.get("status"))
    asked = {name: status.get(name) for name in ("address", "addresses", "conditions")}
    if asked["address"] or asked["addresses"]:
        del asked["conditions"]  # they change more often, and are asked for by nobody then
    meta = {name: found["metadata"].get(name) for name in ("namespace", "name")}
    return {"kind": found["kind"], "metadata": meta, "status": asked}


def _port(ports: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    for each in ports:
        if each.get("port") == 80:
            return each
    if len(ports) == 1:
        return ports[0]
    return next((each for each in ports if each.get("name") == "http"), None)


def _told(port: Mapping[str, Any]) -> str:
    name = port.get("name")
    return f"{port.get('port')} {name}" if name else str(port.get("port"))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
