"""What the server is told: one node, apart from any other, with a listener of every kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.services.certificates import write_certificates
from tests.services.mesh import HOST

# The name in the client's certificate, so that EXTERNAL finds the same user as PLAIN does.
USER: Final = "client.test"
PASSWORD: Final = "mesh-secret"

PORTS: Final = 6
"""How many ports a server takes."""

MEMORY_WATERMARK: Final = "0.8"
DISK_LIMIT: Final = "1MB"

_PLUGINS: Final = ("rabbitmq_management", "rabbitmq_auth_mechanism_ssl")

_ONE_NODE: Final = {
    "default_user": USER,
    "default_pass": PASSWORD,
    "default_user_tags.administrator": "true",
    "auth_mechanisms.1": "PLAIN",
    "auth_mechanisms.2": "EXTERNAL",
    "ssl_cert_login_from": "subject_alternative_name",
    "ssl_cert_login_san_type": "dns",
    "ssl_cert_login_san_index": "0",
    # No test meets an alarm that it did not ask for, however small or full the machine is.
    "vm_memory_high_watermark.relative": MEMORY_WATERMARK,
    "disk_free_limit.absolute": DISK_LIMIT,
    # What the management API says of connections is this old, rather than 5 s.
    "collect_statistics_interval": "500",
}

# It listens for other nodes on loopback only, and says how deep quorum queues are as often as
# above. The settings file knows neither.
_RUNTIME: Final = (
    "-noinput",
    "-kernel inet_dist_use_interface {127,0,0,1}",
    "-rabbit quorum_tick_interval 500",
)

# The settings know one set of TLS options for all listeners: this adds one that demands a
# certificate. Its words may have no spaces, at which the server's script would split them.
_MTLS: Final = (
    "{{ok,O}}=application:get_env(rabbit,ssl_options),"
    'rabbit_networking:start_ssl_listener({{"{host}",{port}}},'
    "lists:keystore(fail_if_no_peer_cert,1,O,{{fail_if_no_peer_cert,true}}),1)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Where a server listens, each as ``host:port``, and the folder of its certificates and log.

    USER may do everything everywhere: with PASSWORD, or by the client's certificate and the
    mechanism EXTERNAL. ``amqps`` takes clients with a certificate and without one, ``mtls``
    only those that have one. All certificates are vouched for by ``authority``.

    ``distribution`` and ``epmd`` are for the server's own tools.
    """

    amqp: str
    amqps: str
    mtls: str
    management: str
    distribution: str
    epmd: str
    folder: str

    def addresses(self) -> Sequence[str]:
        """Return where those for clients are."""
        return [self.amqp, self.amqps, self.mtls, self.management]

    def url(self, vhost: str = "/") -> str:
        """Return the URL of a vhost, without TLS, for USER."""
        return f"amqp://{USER}:{PASSWORD}@{self.amqp}/{quote(vhost, safe='')}"

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
        return Path(self.folder, "rabbitmq.log")


def write_settings(folder: Path, ports: Sequence[int]) -> Listeners:
    """Write ``rabbitmq.conf``, certificates and all else that the server reads.

    The first port is that of the listener without TLS; there are PORTS of them.
    """
    addresses = [f"{HOST}:{port}" for port in ports]
    names = ("amqp", "amqps", "mtls", "management", "distribution", "epmd")
    listeners = Listeners(**dict(zip(names, addresses, strict=True)), folder=str(folder))
    settings = {**_ONE_NODE, **_listening(listeners)}
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    Path(folder, "rabbitmq.conf").write_text(lines)
    Path(folder, "enabled_plugins").write_text(f"[{','.join(_PLUGINS)}].\n")
    write_certificates(folder, HOST, "localhost")
    return listeners


def environment(listeners: Listeners) -> Mapping[str, str]:
    """Return what the server's programs are told by the environment.

    All that a server finds elsewhere by default is somewhere in its folder, or nowhere.
    """
    folder = listeners.folder
    mtls = _MTLS.format(host=HOST, port=_port(listeners.mtls))
    return {
        "HOME": folder,  # where the cookie is that nodes and tools know each other by
        "LC_ALL": "C.UTF-8",
        "ERL_CRASH_DUMP": f"{folder}/erl_crash.dump",
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": _port(listeners.epmd),
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
        "RABBITMQ_ALLOW_INPUT": "1",  # or a shell stands between the server and its signals
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
        "RABBITMQ_CONFIG_FILES": f"{folder}/conf.d",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
        "RABBITMQ_CTL_ERL_ARGS": "-dist_listen false",
        "RABBITMQ_DIST_PORT": _port(listeners.distribution),
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_LOG_BASE": folder,
        "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_NODENAME": "cemesh@localhost",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        "RABBITMQ_PLUGINS_EXPAND_DIR": f"{folder}/plugins",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(_RUNTIME),
        "RABBITMQ_SERVER_START_ARGS": f"-eval {mtls}",
    }


def _listening(listeners: Listeners) -> Mapping[str, str]:
    return {
        "listeners.tcp.1": listeners.amqp,
        "listeners.ssl.1": listeners.amqps,
        "ssl_options.cacertfile": listeners.authority,
        "ssl_options.certfile": f"{listeners.folder}/server.pem",
        "ssl_options.keyfile": f"{listeners.folder}/server.pem",
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "false",
        "management.tcp.ip": HOST,
        "management.tcp.port": _port(listeners.management),
    }


def _port(address: str) -> str:
    return address.rpartition(":")[2]
