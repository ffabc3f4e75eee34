"""Which addresses may be dialled: public ones, and those that the operator lets in.

A trigger's author names a URL, and the mesh goes there from inside the operator's network. So
what is judged is the address of each connection that is made: a name that passed a check once
may lead elsewhere the next time (DNS rebinding).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from enum import Enum
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

from broker.policy import Network

Ip = IPv4Address | IPv6Address
Allowed = IPv4Network | IPv6Network | str
"""What one entry of `Network.allowed` says: a network, or a host name in lower case."""


class Kind(Enum):
    """Why an address is not public, in the words of a reason."""

    LOOPBACK = "a loopback address"
    PRIVATE = "a private address"
    SHARED = "an address of a carrier's network"
    LINK_LOCAL = "a link-local address"
    METADATA = "a cloud's metadata service"
    UNSPECIFIED = "the unspecified address"
    MULTICAST = "a multicast address"
    BROADCAST = "the broadcast address"
    DOCUMENTATION = "an address for documentation"
    BENCHMARKING = "an address for benchmarks"
    RESERVED = "a reserved address"


_BY_NAME: Final = frozenset({Kind.LOOPBACK, Kind.PRIVATE, Kind.SHARED})
"""Where a host that is allowed by its name may lead: where services are.

Whoever answers for a name is not always the operator, least of all for ``*.example.com``. No
subscriber is at a metadata service or a multicast address, so these take an entry of their own.
"""

_SPECIAL: Final[tuple[tuple[IPv4Network | IPv6Network, Kind], ...]] = tuple(
    (ip_network(network), kind)
    for kind, networks in {
        # The services of AWS, Google, Azure (all three), Oracle and Alibaba come first: they are
        # within networks of other kinds, or within none.
        Kind.METADATA: (
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
        # The registries of special purpose addresses (RFC 6890).
        Kind.BROADCAST: ("255.255.255.255",),
        Kind.UNSPECIFIED: ("0.0.0.0/8", "::"),
        Kind.LOOPBACK: ("127.0.0.0/8", "::1"),
        Kind.PRIVATE: ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        Kind.SHARED: ("100.64.0.0/10",),
        Kind.LINK_LOCAL: ("169.254.0.0/16", "fe80::/10"),
        Kind.DOCUMENTATION: (
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "2001:db8::/32",
            "3fff::/20",
        ),
        Kind.BENCHMARKING: ("198.18.0.0/15", "2001:2::/48"),
        Kind.MULTICAST: ("224.0.0.0/4", "ff00::/8"),
        # 2001::/23 has Teredo and other identifiers that are no hosts' addresses.
        Kind.RESERVED: ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "2001::/23"),
    }.items()
    for network in networks
)

_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


def literal(host: str) -> Ip | None:
    """Return the address that ``host`` is a spelling of, None where it is a name.

    Name lookups understand ``2130706433`` and ``0x7f.1`` too, as 127.0.0.1. A scope is left out.
    """
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def kind_of(ip: Ip) -> Kind | None:
    """Return what makes an address special, None for a public one.

    An IPv6 address that hides an IPv4 one (mapped, NAT64, 6to4) is what the hidden one is. One
    outside what is given out to hosts (IPv4-compatible, local NAT64, …) is reserved.
    """
    hidden = _hidden(ip)
    if hidden is not None:
        return kind_of(hidden)
    for network, kind in _SPECIAL:
        if ip in network:
            return kind
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_IPV6:
        return Kind.RESERVED
    return None


def _plain(ip: Ip) -> Ip:
    """Return a mapped address as the IPv4 address that is dialled for it."""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def _hidden(ip: Ip) -> IPv4Address | None:
    if isinstance(ip, IPv4Address):
        return None
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def parse_allowed(text: str) -> Allowed:
    """Read one entry of `Network.allowed`, or raise ValueError with what is wrong with it.

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
        if _plain(network.network_address) != network.network_address:
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
class Guard:
    """What one `Network` lets pass."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    names: frozenset[str]
    loopback: bool

    def refusal(self, host: str, address: str) -> str | None:
        """Return why ``address``, where ``host`` leads, must not be dialled; None if it may be."""
        ip = literal(address)
        if ip is None:
            raise ValueError(f"{address} is no address")
        ip = _plain(ip)
        kind = kind_of(ip)
        if kind is None or any(ip in network for network in self.networks):
            return None
        if self.loopback and kind is Kind.LOOPBACK and _hidden(ip) is None:
            return None
        is_name = literal(host) is None
        by_name = is_name and kind in _BY_NAME
        if by_name and self._knows(host):
            return None
        where = f"{host} leads to {ip}, which" if is_name else str(ip)
        option = f"--allow-destination {host if by_name else ip}"
        return f"{where} is {kind.value} and not allowed (see {option})"

    def _knows(self, host: str) -> bool:
        name = host.removesuffix(".")
        labels = name.split(".")
        above = ("*." + ".".join(labels[start:]) for start in range(1, len(labels)))
        return name in self.names or any(each in self.names for each in above)


@lru_cache(maxsize=256)
def guard_of(network: Network) -> Guard:
    """Return the guard of a network; raise ValueError where an entry of it cannot be read."""
    allowed = [parse_allowed(text) for text in network.allowed]
    return Guard(
        networks=tuple(each for each in allowed if not isinstance(each, str)),
        names=frozenset(each for each in allowed if isinstance(each, str)),
        loopback=network.loopback,
    )
