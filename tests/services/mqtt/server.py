"""Mosquitto as a process of its own, with a listener of every kind.

    with MqttServer(tmp_path, program) as mqtt:
        async with aiomqtt.Client(*host_and_port(mqtt.listeners.mqtt)):
            ...
            mqtt.restart()

Everything here blocks: on an event loop, use a thread.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services import apt
from tests.services.certificates import write_certificates
from tests.services.locks import locked
from tests.services.mesh import HOST, free_ports
from tests.services.missing import Missing
from tests.services.server import Leashed, Server, listened_to

USER: Final = "mesh"
PASSWORD: Final = "mesh-secret"

MAX_PACKET: Final = 1 << 20
"""Bytes that a packet may have."""

_KEPT: Final = Path(__file__).parents[3] / ".mosquitto"
_PACKAGE: Final = "mosquitto"
_SBIN: Final = "/usr/sbin"  # not everybody's PATH has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Where a server listens, each as ``host:port``, and the folder of its certificates and log.

    ``secured`` and ``tls`` take USER with PASSWORD, who may read and write all but topics below
    ``forbidden``; ``mtls`` takes clients that have a certificate, and ``qos_0`` everybody, without
    acknowledging anything. All certificates are vouched for by ``authority``.
    """

    mqtt: str
    secured: str
    tls: str
    mtls: str
    qos_0: str
    folder: str

    def addresses(self) -> Sequence[str]:
        return [self.mqtt, self.secured, self.tls, self.mtls, self.qos_0]

    @property
    def authority(self) -> str:
        return Path(self.folder, "authority.pem").read_text()

    @property
    def client(self) -> tuple[str, str]:
        """The private key and the certificate that ``mtls`` lets in."""
        text = Path(self.folder, "client.pem").read_text()
        key, begin, certificate = text.partition("-----BEGIN CERT")
        return key, begin + certificate

    @property
    def log(self) -> Path:
        return Path(self.folder, "mosquitto.log")


class MqttServer(Server):
    """A Mosquitto, running while this is entered. What sessions it has outlive its process.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise.
    """

    def __init__(self, folder: Path, program: str, *, owner: int | None = None) -> None:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self._program = program
        self.listeners = _settings(folder, program)
        super().__init__("Mosquitto", self.listeners.log)
        self._process = Leashed("Mosquitto", self.listeners.log, owner=owner or os.getpid())
        self._folder = folder

    def start(self, *, within: float = 45) -> None:
        deadline = time.monotonic() + within
        self._process.start([self._program, "-c", str(self._folder / "mosquitto.conf")])
        try:
            self._process.wait_until(
                lambda: all(map(listened_to, self.listeners.addresses())), deadline=deadline
            )
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within: float = 20) -> None:
        self._process.stop(within=within)

    def kill(self) -> None:
        self._process.kill()


def find() -> str | Missing:
    """Return the path of Mosquitto, which is installed if need be."""
    _KEPT.mkdir(exist_ok=True)
    with locked(_KEPT / "lock"):
        failure = apt.install(_PACKAGE, _KEPT) if _installed() is None else None
    return _installed() or Missing(
        reason=f"no MQTT server to test with: Mosquitto is not installed ({failure}). "
        f"Install it (`sudo apt-get install {_PACKAGE}`)"
    )


def _installed() -> str | None:
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def _settings(folder: Path, program: str) -> Listeners:
    write_certificates(folder, "localhost", HOST)
    ports = free_ports(5)
    listeners = Listeners(
        mqtt=f"{HOST}:{ports[0]}",
        secured=f"{HOST}:{ports[1]}",
        tls=f"{HOST}:{ports[2]}",
        mtls=f"{HOST}:{ports[3]}",
        qos_0=f"{HOST}:{ports[4]}",
        folder=str(folder),
    )
    passwords, acl = folder / "passwords", folder / "acl"
    hashing = Path(program).with_name("mosquitto_passwd")
    tool = shutil.which("mosquitto_passwd") or str(hashing)
    subprocess.run([tool, "-b", "-c", passwords, USER, PASSWORD], check=True)
    acl.write_text(f"user {USER}\ntopic readwrite #\ntopic deny forbidden/#\n")
    certificate = folder / "server.pem"
    tls = f"cafile {folder}/authority.pem\ncertfile {certificate}\nkeyfile {certificate}\n"
    (folder / "mosquitto.conf").write_text(
        f"""
per_listener_settings true
{"user root" if os.geteuid() == 0 else ""}
persistence true
persistence_location {folder}/
max_queued_messages 0
max_packet_size {MAX_PACKET}
sys_interval 0

listener {ports[0]} {HOST}
allow_anonymous true

listener {ports[1]} {HOST}
password_file {passwords}
acl_file {acl}

listener {ports[2]} {HOST}
password_file {passwords}
acl_file {acl}
{tls}
listener {ports[3]} {HOST}
allow_anonymous true
require_certificate true
{tls}
listener {ports[4]} {HOST}
allow_anonymous true
max_qos 0
"""
    )
    return listeners
