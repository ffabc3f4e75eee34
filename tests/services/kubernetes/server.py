"""An API server of Kubernetes, and the etcd that it stores in, as processes of their own.

    with KubernetesServer(tmp_path, bin_folder) as server:
        server.api.apply(MANIFEST)
        server.kill()
        server.start()

There is nothing else of a cluster: objects are checked and kept, and nobody acts on them.
Everything here blocks, for seconds: on an event loop, use a thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.services.kubernetes.client import Kubernetes
from tests.services.kubernetes.place import Place, write_place
from tests.services.mesh import HOST, free_ports
from tests.services.server import Leashed, Server, listened_to


class KubernetesServer(Server):
    """One API server, running while this is entered; ``programs`` is the folder of its programs.

    ``folder`` takes everything. The server does not outlive the process with the id ``owner``:
    this one, unless told otherwise.
    """

    def __init__(self, folder: Path, programs: Path, *, owner: int | None = None) -> None:
        port, etcd, self._peer = free_ports(3)
        self.place: Final[Place] = write_place(folder.resolve(), port, etcd)
        self.api: Final = Kubernetes(self.place)
        super().__init__("the API server", self.place.log)
        self._port = port
        self._programs = programs
        owner = owner or os.getpid()
        self._etcd = Leashed("etcd", Path(self.place.folder, "etcd.log"), owner=owner)
        self._server = Leashed("the API server", self.place.log, owner=owner)
        self._stores = False

    def start(self, *, within: float = 90) -> None:
        deadline = time.monotonic() + within
        try:
            if not self._stores:
                self._etcd.start(self._etcd_command())
                self._stores = True
                self._etcd.wait_until(lambda: listened_to(self.place.etcd), deadline=deadline)
            self._server.start(self._server_command())
            self._server.wait_until(self.api.ready, deadline=deadline)
        except BaseException:
            self.kill()
            self._kill_etcd()
            raise

    def stop(self, *, within: float = 20) -> None:
        try:
            self._server.stop(within=within)
        finally:
            self._kill_etcd()  # what it has taken, it has written

    def kill(self) -> None:
        """End the API server as a crash would, and return once it is gone; etcd goes on."""
        self._server.kill()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._kill_etcd()

    def _kill_etcd(self) -> None:
        self._etcd.kill()
        self._stores = False

    def _etcd_command(self) -> Sequence[str]:
        client, peer = f"http://{self.place.etcd}", f"http://{HOST}:{self._peer}"
        return [
            f"{self._programs}/etcd",
            f"--data-dir={self.place.folder}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # it has to outlive its process, not the machine
        ]

    def _server_command(self) -> Sequence[str]:
        place = self.place
        return [
            f"{self._programs}/kube-apiserver",
            f"--etcd-servers=http://{place.etcd}",
            f"--bind-address={HOST}",
            f"--secure-port={self._port}",
            f"--tls-cert-file={place.folder}/server.pem",
            f"--tls-private-key-file={place.folder}/server.pem",
            f"--cert-dir={place.folder}",
            f"--token-auth-file={place.tokens}",
            f"--service-account-key-file={place.signing_key}",
            f"--service-account-signing-key-file={place.signing_key}",
            f"--service-account-issuer={place.url}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            # No controller gives a namespace the account that its pods would run as.
            "--disable-admission-plugins=ServiceAccount",
            # What is 410 and what is not, tests decide: of one kind, at once.
            "--etcd-compaction-interval=0",
            "--watch-cache-sizes=podtemplates#0",
            "--endpoint-reconciler-type=none",
        ]
