"""What the operator chose for one process.

The command line fills it in, from flags and the environment; nothing below reads either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

from broker.policy import Network
from broker.tls import CaFile

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Part(Enum):
    """What a mesh does. Each part can be a process of its own: ``cemesh`` and the value."""

    INGRESS = "ingress"
    DISPATCHER = "dispatcher"
    SOURCES = "sources"


_CREDENTIALS: Final = re.compile(r"(?<=://).*@")

MAX_SHARDS: Final = 64
"""Processes that one mesh may run in: as many as ids of dead letters tell apart."""

WHOLE: Final = frozenset(Part)
"""All parts in one process: ``cemesh run``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorySettings:
    """How the stories of events are kept: in a ``folder``, until they are of an ``age``.

    And up to a ``size`` in bytes, 0 for not at all. Where the first is None, that is the data
    directory where the embedded channel has one, and memory otherwise; where ``size`` is, what
    suits that. ``sample`` is the share of events whose whole story is kept; of the others it is
    what went wrong.
    """

    folder: Path | None = None
    age: timedelta = timedelta(days=7)
    size: int | None = None
    sample: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files, all PEM, by which a port speaks TLS.

    ``certificate`` has the port's own, and those between it and the authority; ``client_ca`` the
    authorities of clients, who have to show a certificate where it is given.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """Which objects of a cluster are run, and how the cluster is talked to.

    Those of all ``namespaces`` where none is named; of brokers those of these ``classes``, or of
    all that the mesh knows; of the kinds that are not to be ``left`` to others. ``address`` is the
    URL at which the data port is reached within the cluster, ``lease`` the name of the Lease whose
    holder writes statuses, or None for one that tells the part. ``kubeconfig`` is the file that
    says which cluster is meant, or None within one. ``trust``: objects may act with the rights of
    the mesh itself, in its pod and in the cluster.
    """

    namespaces: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    address: str | None = None
    lease: str | None = None
    kubeconfig: Path | None = None
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of ``cemesh run``, and of the commands that run a part of the mesh.

    ``channel`` is the URL of the default channel, which may hold a password, or None for the
    embedded one in ``data_dir``. ``resolve`` maps ``Kind/namespace/name`` to the URL that stands
    for it. A port of 0 takes any that is free; without the ingress, ``port`` is not listened on.
    ``allow``, ``proxy``, ``no_proxy`` and ``ca_certs`` are those of `Network`. A port without
    ``tls`` speaks plain HTTP.
    ``kubernetes`` says which objects of a cluster are run beside those in ``paths``, if any are.
    ``workers`` is the number of processes that take events, this one among them. ``audit_log`` is
    the file in which changes are noted, too.
    """

    paths: tuple[Path, ...]
    parts: frozenset[Part] = WHOLE
    data_dir: Path = Path(".cemesh")
    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    tls: TlsFiles | None = None
    admin_tls: TlsFiles | None = None
    channel: str | None = field(default=None, repr=False)
    resolve: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] = ()
    ca_certs: CaFile | None = None
    retention_age: timedelta = timedelta(days=7)
    retention_bytes: int = 1 << 30
    max_event_bytes: int = 1 << 20
    drain_timeout: timedelta = timedelta(seconds=30)
    workers: int = 1
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"
    audit_log: Path | None = None
    stories: StorySettings = StorySettings()
    kubernetes: KubernetesSettings | None = None
    cluster_domain: str = "cluster.local"

    @property
    def data(self) -> str:
        """Where events are kept, as it may be shown: without user and password."""
        return _CREDENTIALS.sub("", self.channel or str(self.data_dir))

    @property
    def network(self) -> Network:
        """Where deliveries may lead beside public addresses.

        On a laptop, where nobody else reaches the mesh, its own machine is among them.
        """
        hosts = [self.admin_host, *([self.host] if Part.INGRESS in self.parts else [])]
        return Network(
            allowed=self.allow,
            loopback=all(map(_is_loopback, hosts)),
            proxy=self.proxy,
            no_proxy=self.no_proxy,
            ca_certs=self.ca_certs,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
