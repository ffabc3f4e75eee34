"""What operators write of destinations: hosts, addresses and networks."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Ip = IPv4Address | IPv6Address
Destination = IPv4Network | IPv6Network | str
"""A network, or the name of a host in lower case, which may begin with ``*.``."""

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


def literal(host: str) -> Ip | None:
    """Return the address that ``host`` is a spelling of, None where it is a name.

    Name lookups understand ``2130706433`` and ``0x7f.1`` too, as 127.0.0.1, and those of some
    proxies ``127.0.0.1.``. A scope is left out.
    """
    spelled = host.partition("%")[0].removesuffix(".")
    try:
        return ip_address(spelled)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(spelled))
    except OSError:
        return None


def plain(ip: Ip) -> Ip:
    """Return a mapped address as the IPv4 address that is dialled for it."""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def parse_destination(text: str) -> Destination:
    """Read one entry of `Network.allowed` or `no_proxy`; raise ValueError saying what is wrong.

    It is the name of a host, ``*.`` and a domain for all the hosts below it, an address, or a
    network in CIDR notation.
    """
    try:
        network = ip_network(text)
    except ValueError as error:
        if "has host bits set" in str(error):
            meant = ip_network(text, strict=False)
            raise ValueError(f"{text} is an address within a network: {meant}?") from None
    else:
        if "%" in text:
            raise ValueError(f"{text} names an interface, which is no part of it")
        if plain(network.network_address) != network.network_address:
            raise ValueError(f"{text} is IPv4 written as IPv6: write it as IPv4")
        return network
    spelled = literal(text)
    if spelled is not None:
        raise ValueError(f"{text} is an address in another spelling: {spelled}?")
    try:
        name = text.lower().encode("idna").decode("ascii").removesuffix(".")
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name):
        hint = "0.0.0.0/0 and ::/0 are all addresses; " if text == "*" else ""
        raise ValueError(
            f"{text!r} is no host name, address or network in CIDR notation"
            f" ({hint}a scheme, a port, a path or brackets are no part of it)"
        )
    return name


@dataclass(frozen=True, slots=True)
class Destinations:
    """Several of them."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    names: frozenset[str]

    def has_address(self, ip: Ip) -> bool:
        return any(ip in network for network in self.networks)

    def has_name(self, host: str) -> bool:
        name = host.removesuffix(".")
        labels = name.split(".")
        above = ("*." + ".".join(labels[start:]) for start in range(1, len(labels)))
        return name in self.names or any(each in self.names for each in above)


@lru_cache(maxsize=256)
def destinations_of(texts: tuple[str, ...]) -> Destinations:
    """Return what these entries say, or raise ValueError as `parse_destination` does."""
    parsed = [parse_destination(text) for text in texts]
    return Destinations(
        networks=tuple(each for each in parsed if not isinstance(each, str)),
        names=frozenset(each for each in parsed if isinstance(each, str)),
    )
