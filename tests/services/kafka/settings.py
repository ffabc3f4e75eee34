"""What the server is told: one node, with a listener of every kind that clients may meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.services.certificates import write_certificates
from tests.services.mesh import HOST

USER: Final = "mesh"
PASSWORD: Final = "mesh-secret"
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

# The names of Listeners' fields, as the server knows them, with what each speaks.
_PROTOCOLS: Final = {
    "PLAINTEXT": "PLAINTEXT",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    "SSL": "SSL",
    "MTLS": "SSL",
    "SASL_SSL": "SASL_SSL",
}
_CONTROLLER: Final = "CONTROLLER"

PORTS: Final = len(_PROTOCOLS) + 1
"""How many ports a server takes, without relays."""

_ONE_NODE: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": _CONTROLLER,
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}

# A group's first member waits for no second. A server that was killed comes back once its
# former self has timed out: within the time that starting takes, rather than after 9 s more.
_IN_A_HURRY: Final = {
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}

# 140 MB and 30 threads less than the defaults, which are for a machine of its own.
_SMALL: Final = {
    "num.network.threads": "1",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(2 << 20),
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Where a server listens, each as ``host:port``, and the folder of its certificates and log.

    SASL knows USER with PASSWORD by each of SASL_MECHANISMS. The server's certificate, and that
    of a client that ``mtls`` lets in, are vouched for by ``authority``.

    ``relayed`` are listeners without any security that say of themselves that they are
    elsewhere, where a relay has to be: where it listens → where the server does.
    """

    plaintext: str
    sasl_plaintext: str
    ssl: str
    mtls: str
    sasl_ssl: str
    relayed: Mapping[str, str]
    folder: str

    def addresses(self) -> Sequence[str]:
        """Return where each of them is."""
        named = [self.plaintext, self.sasl_plaintext, self.ssl, self.mtls, self.sasl_ssl]
        return [*named, *self.relayed.values()]

    @property
    def authority(self) -> str:
        """The path of the authority's certificate, as PEM."""
        return f"{self.folder}/authority.pem"

    @property
    def client(self) -> str:
        """The path of a client's key and certificate, as PEM."""
        return f"{self.folder}/client.pem"

    @property
    def log(self) -> Path:
        """All that the server has printed."""
        return Path(self.folder, "kafka.log")


def write_settings(
    folder: Path, ports: Sequence[int], relayed: Mapping[int, int] = MappingProxyType({})
) -> Listeners:
    """Write ``server.properties``, certificates and all else that the server reads.

    The first port is that of the listener without any security; there are PORTS of them.
    ``relayed`` are those of relays, each with that of the listener behind it.
    """
    *others, controller = [_at(port) for port in ports]
    addresses = dict(zip(_PROTOCOLS, others, strict=True))
    behind = {_at(relay): _at(port) for relay, port in relayed.items()}
    properties = {
        **_ONE_NODE,
        **_IN_A_HURRY,
        **_SMALL,
        **_listening(addresses, controller, behind),
        **_securing(folder),
        "log.dirs": f"{folder}/data",
    }
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{name}={value}\n" for name, value in properties.items())
    Path(folder, "server.properties").write_text(lines)
    logging = Path(__file__).with_name("log4j2.properties")
    Path(folder, logging.name).write_text(logging.read_text())
    write_certificates(folder, HOST, "localhost")
    return Listeners(
        **{name.lower(): address for name, address in addresses.items()},
        relayed=behind,
        folder=str(folder),
    )


def _at(port: int) -> str:
    return f"{HOST}:{port}"


def _listening(
    addresses: Mapping[str, str], controller: str, relayed: Mapping[str, str]
) -> dict[str, str]:
    names = [f"RELAYED_{number}" for number, _ in enumerate(relayed)]
    listeners = {
        _CONTROLLER: controller,
        **addresses,
        **dict(zip(names, relayed.values(), strict=True)),
    }
    advertised = {**addresses, **dict(zip(names, relayed, strict=True))}
    protocols = {_CONTROLLER: "PLAINTEXT", **_PROTOCOLS, **dict.fromkeys(names, "PLAINTEXT")}
    return {
        "listeners": _listed(listeners),
        "advertised.listeners": _listed(advertised),
        "listener.security.protocol.map": ",".join(map(":".join, protocols.items())),
        "controller.quorum.voters": f"1@{controller}",
    }


def _listed(listeners: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in listeners.items())


def _securing(folder: Path) -> dict[str, str]:
    modules = "org.apache.kafka.common.security"
    plain = f'{modules}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    scram = f"{modules}.scram.ScramLoginModule required;"
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": f"{folder}/server.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": f"{folder}/authority.pem",
        "listener.name.mtls.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": ",".join(SASL_MECHANISMS),
        **{
            f"listener.name.{name.lower()}.{mechanism.lower()}.sasl.jaas.config": (
                plain if mechanism == "PLAIN" else scram
            )
            for name in ("SASL_PLAINTEXT", "SASL_SSL")
            for mechanism in SASL_MECHANISMS
        },
    }
