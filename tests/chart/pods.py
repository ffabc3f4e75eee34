"""A pod of the chart as a process on this machine: its arguments, its variables, its files."""

from __future__ import annotations

import asyncio
import base64
import http.client
import os
import re
import ssl
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

from tests.chart.rendering import Object, Rendered
from tests.services.mesh import CEMESH, HOST, free_port

_PORTS: Final = {"http": "CEMESH_PORT", "admin": "CEMESH_ADMIN_PORT"}
_REFERENCE: Final = re.compile(r"\$\((\w+)\)")


class Pod:
    """What a component's container runs, while this is entered.

    The folders that its volumes are mounted at are below ``folder``, with what is in ConfigMaps and
    Secrets of the release and in ``others``. Each port is a free one of this machine.
    """

    def __init__(
        self,
        release: Rendered,
        component: str,
        folder: Path,
        *,
        others: Sequence[Object] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._objects = [*release.objects, *others]
        self._pod: Object = release.templates()[component]["spec"]
        (self._container,) = self._pod["containers"]
        self.ports: Mapping[str, int] = {
            port["name"]: free_port() for port in self._container["ports"]
        }
        self._environment = {**self._variables(), **(environment or {})}
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._mount()

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # it returns at once
                [CEMESH, *self._container["args"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
            )
        try:
            await self.until_probed()
        except BaseException as error:
            self._process.kill()
            error.add_note(self.output())
            raise
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        process = self._running()
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, self._pod["terminationGracePeriodSeconds"])
        finally:
            process.kill()
        if error is not None:
            error.add_note(self.output())
        assert process.returncode == 0, self.output()

    def output(self) -> str:
        return self._log.read_text()

    def file(self, path: str) -> Path:
        """Return where a path of the container is on this machine."""
        return Path(self._mapped(path))

    async def until_probed(self, *, within: float = 30) -> None:
        """Return once all probes of the container are content."""
        probes = [
            self._container[each]["httpGet"]
            for each in ("startupProbe", "readinessProbe", "livenessProbe")
        ]
        async with asyncio.timeout(within):
            for probe in probes:
                while not await asyncio.to_thread(self._content, probe):
                    code = self._running().poll()
                    assert code is None, f"cemesh ended with {code}"
                    await asyncio.sleep(0.05)

    async def until_told(self, path: str, text: str, *, within: float = 30) -> None:
        """Return once the admin port tells ``text`` at this path."""
        async with asyncio.timeout(within):
            while text not in (await asyncio.to_thread(self._get, "admin", path))[1]:
                await asyncio.sleep(0.05)

    def _content(self, probe: Object) -> bool:
        return self._get(probe["port"], probe["path"], tls=probe["scheme"] == "HTTPS")[0] == 200

    def _get(self, port: str, path: str, *, tls: bool = False) -> tuple[int, str]:
        """Return status and body, 0 where nothing answers."""
        connection: http.client.HTTPConnection
        place = (HOST, self.ports[port])
        if tls:  # as the kubelet does it, which verifies nothing
            unverified = ssl._create_unverified_context()  # noqa: S323
            connection = http.client.HTTPSConnection(*place, timeout=5, context=unverified)
        else:
            connection = http.client.HTTPConnection(*place, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    # --- what it finds -----------------------------------------------------------------------

    def _variables(self) -> Mapping[str, str]:
        found = {
            name: value for name, value in os.environ.items() if not name.startswith("CEMESH_")
        }
        for each in self._container["env"]:
            name = each["name"]
            value = each["value"] if "value" in each else self._value(each["valueFrom"])
            value = _REFERENCE.sub(lambda match: found[match[1]], value)
            found[name] = self._mapped(value) if value.startswith("/") else value
        for port, variable in _PORTS.items():
            if port in self.ports:
                assert found[variable] == str(self._port(port))
                found[variable] = str(self.ports[port])
        return found

    def _port(self, name: str) -> int:
        (found,) = (
            each["containerPort"] for each in self._container["ports"] if each["name"] == name
        )
        assert isinstance(found, int)
        return found

    def _value(self, source: Object) -> str:
        if source.get("fieldRef") == {"fieldPath": "metadata.name"}:
            return "pod"
        reference = source["secretKeyRef"]
        return self._data("Secret", reference["name"])[reference["key"]].decode()

    def _data(self, kind: str, name: str) -> Mapping[str, bytes]:
        (found,) = (
            each
            for each in self._objects
            if each["kind"] == kind and each["metadata"]["name"] == name
        )
        plain = {
            **found.get("stringData", {}),
            **(found.get("data", {}) if kind == "ConfigMap" else {}),
        }
        coded = found.get("data", {}) if kind == "Secret" else {}
        return {
            **{key: text.encode() for key, text in plain.items()},
            **{key: base64.b64decode(text) for key, text in coded.items()},
        }

    def _mapped(self, path: str) -> str:
        return str(self._folder / "root" / path.removeprefix("/"))

    def _mount(self) -> None:
        volumes = {each["name"]: each for each in self._pod["volumes"]}
        for mount in self._container["volumeMounts"]:
            place = Path(self._mapped(mount["mountPath"]))
            place.mkdir(parents=True, exist_ok=True)
            if mount.get("readOnly"):
                put(place, self._files(volumes[mount["name"]]))

    def _files(self, volume: Mapping[str, Any]) -> Mapping[str, bytes]:
        files: dict[str, bytes] = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "configMap" in source:
                files |= self._data("ConfigMap", source["configMap"]["name"])
            if "secret" in source:
                secret = source["secret"]
                files |= self._data("Secret", secret.get("secretName") or secret["name"])
        return files


async def running(
    stack: AsyncExitStack,
    release: Rendered,
    folder: Path,
    *,
    others: Sequence[Object] = (),
    environment: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> Mapping[str, Pod]:
    """Start a pod of each component, all at a time; ``environment`` is by component."""
    pods = {
        component: Pod(
            release,
            component,
            folder / component,
            others=others,
            environment=environment(component),
        )
        for component in release.templates()
    }
    async with asyncio.TaskGroup() as group:
        for pod in pods.values():
            group.create_task(stack.enter_async_context(pod))
    return pods


def put(place: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a folder as the kubelet does: links into another, exchanged as a whole."""
    former = place / "..data"
    generation = f"..generation-{len([*place.glob('..generation-*')])}"
    (place / generation).mkdir()
    for name, content in files.items():
        (place / generation / name).write_bytes(content)
        if not (place / name).is_symlink():
            (place / name).symlink_to(Path("..data", name))
    fresh = place / "..data_tmp"
    fresh.symlink_to(generation)
    fresh.replace(former)
