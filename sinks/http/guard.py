"""Which addresses may be dialled: public ones, and those that the operator lets in.

A trigger's author names a URL, and the mesh goes there from inside the operator's network. So
what is judged is the address of each connection that is made: a name that passed a check once
may lead elsewhere the next time (DNS rebinding).
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from broker.policy import Network
from sinks.http.destinations import Ip, destinations_of, literal, plain


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
_ISATAP: Final = 0x00005EFE


def kind_of(ip: Ip) -> Kind | None:
    """Return what makes an address special, None for a public one.

    An IPv6 address that hides an IPv4 one (mapped, NAT64, 6to4) is what the hidden one is, and so
    is one below a public prefix (ISATAP). One outside what is given out to hosts (IPv4-compatible,
    local NAT64, …) is reserved.
    """
    hidden = _hidden(ip)
    if hidden is not None:
        return kind_of(hidden)
    for network, kind in _SPECIAL:
        if ip in network:
            return kind
    if isinstance(ip, IPv4Address):
        return None
    if ip not in _GLOBAL_IPV6:
        return Kind.RESERVED
    return kind_of(IPv4Address(int(ip) & 0xFFFFFFFF)) if _is_isatap(ip) else None


def _is_isatap(ip: IPv6Address) -> bool:
    """Return whether its interface identifier is one of RFC 5214 (section 6.1)."""
    return (int(ip) >> 32) & 0xFDFFFFFF == _ISATAP


def _hidden(ip: Ip) -> IPv4Address | None:
    if isinstance(ip, IPv4Address):
        return None
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def refusal(network: Network, host: str, address: str) -> str | None:
    """Return why ``address``, where ``host`` leads, must not be dialled; None if it may be.

    A name that `Network.allowed` has may lead wherever services are, an address or a network
    that it has lets in all that is within. Raises ValueError where an entry cannot be read.
    """
    ip = literal(address)
    if ip is None:
        raise ValueError(f"{address} is no address")
    ip = plain(ip)
    kind = kind_of(ip)
    if kind is None:
        return None
    allowed = destinations_of(network.allowed)
    if allowed.has_address(ip):
        return None
    if network.loopback and ip.is_loopback:
        return None
    is_name = literal(host) is None
    by_name = is_name and kind in _BY_NAME
    if by_name and allowed.has_name(host):
        return None
    where = f"{host} leads to {ip}, which" if is_name else str(ip)
    option = f"--allow-destination {host if by_name else ip}"
    return f"{where} is {kind.value} and not allowed (see {option})"
