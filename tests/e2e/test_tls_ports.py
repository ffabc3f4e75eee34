"""Both ports over TLS: what they speak, whom they answer, and what happens as files change."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.cli.root import cli
from tests.e2e.manifests import broker, manifest, trigger
from tests.e2e.scrapes import Scrape
from tests.services.certificates import Authority
from tests.services.mesh import CEMESH, HOST, RunningMesh
from tests.services.subscribers import Subscriber
from tests.services.tlsmesh import WAIT, TlsMesh, ask, offered

PATH = "/default/default"
EVENT = {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "/s"}


def event(id: str) -> dict[str, str]:
    return {**EVENT, "ce-id": id}


async def test_a_port_with_a_certificate_speaks_http_1_1_over_tls_and_nothing_else(
    tmp_path: Path,
) -> None:
    large = bytes(range(256)) * 3_500

    async with (
        Subscriber() as subscriber,
        TlsMesh(tmp_path, manifest(broker(), trigger("all", subscriber.url("/")))) as mesh,
    ):
        with mesh.connection() as connection:
            first = ask(connection, "POST", PATH, headers=event("1"), body=b"one")
            ours = connection.sock
            second = ask(connection, "POST", PATH, headers=event("2"), body=large)
            chunks = iter([large[:70_000], large[70_000:]])
            connection.request("POST", PATH, chunks, event("3"), encode_chunked=True)
            third = connection.getresponse()
            third.read()

            assert (first.status, second.status, third.status) == (202, 202, 202)
            assert connection.sock is ours, "it was not kept"
        received = await subscriber.received_at("/", 3)
        bodies = {each.header("ce-id"): each.body for each in received}
        assert bodies == {"1": b"one", "2": large, "3": large}
        assert offered(mesh, "h2", "http/1.1") == "http/1.1"
        assert offered(mesh, "h2") is None
        for port in (mesh.port, mesh.admin_port):
            with socket.create_connection((HOST, port), timeout=WAIT) as plain:
                plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"HTTP/" not in _rest(plain)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_certificate_is_renewed_under_load_and_no_request_fails(
    tmp_path: Path, workers: str
) -> None:
    stop = threading.Event()
    sent: list[str] = []

    def keep_sending(sender: int, *, anew: bool) -> None:
        number = 0
        while not stop.is_set():
            with mesh.connection() as connection:
                ours, is_over = connection.sock, False
                while not is_over:
                    number += 1
                    answer = ask(connection, "POST", PATH, headers=event(f"{sender}-{number}"))
                    assert answer.status == 202
                    assert connection.sock is ours, "it was not kept"
                    sent.append(f"{sender}-{number}")
                    is_over = anew or stop.is_set()

    mesh = TlsMesh(tmp_path, manifest(broker()), arguments=["--workers", workers])
    async with mesh:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            sending = [
                loop.run_in_executor(pool, partial(keep_sending, each, anew=each % 2 == 0))
                for each in range(4)
            ]
            try:
                for _ in range(3):
                    renewed, seen = mesh.renew(), len(sent)
                    await mesh.until_shown(renewed, port=mesh.admin_port)
                    # One after the other is handed to each of the processes.
                    await mesh.until_shown(renewed)
                    await mesh.until_shown(renewed)
                    async with asyncio.timeout(WAIT):
                        while len(sent) < seen + 20 and not any(each.done() for each in sending):
                            await asyncio.sleep(0.02)
            finally:
                stop.set()
            await asyncio.gather(*sending)
        shown = {mesh.shown() for _ in range(2 * int(workers))}
        for name in [None, *range(1, int(workers))]:
            worker = [] if name is None else [f"worker={name}"]
            told = ("certificate renewed", "port=data", f"serial={mesh.issued.serial}")
            await mesh.until_logged(*told, *worker)
        status = await mesh.status()

    assert shown == {mesh.issued.serial}
    assert status.brokers[0].accepted == len(sent)


async def test_files_of_no_use_change_nothing_and_are_told_until_they_are_put_right(
    tmp_path: Path,
) -> None:
    async with TlsMesh(tmp_path, manifest(broker())) as mesh:
        former, renewed = mesh.issued, mesh.authority.issue()

        # Written one after the other, as by a program that knows nothing of links.
        mesh.secret.certificate.write_bytes(renewed.certificate)
        told = await mesh.until_logged("certificate not taken up", "port=data")
        for number in range(1, 6):  # after as many looks at its files as at these
            mesh.manifest.write_text(manifest(broker(), broker(f"other-{number}")))
            async with asyncio.timeout(WAIT):
                while mesh.output().count("change taken up") < number:
                    await asyncio.sleep(0.02)
        while_half_written = mesh.shown()
        mesh.secret.key.write_bytes(renewed.key)
        await mesh.until_shown(renewed)

        mesh.secret.key.write_bytes(b"")
        await mesh.until_logged("port=data", "holds no private key in PEM format")
        mesh.secret.key.unlink()
        await mesh.until_logged("port=data", "tls.key cannot be read: No such file or directory")
        while_missing = mesh.shown()
        await mesh.until_shown(mesh.renew())

    assert f"tls.key does not belong to the certificate in '{mesh.secret.certificate}'" in told
    assert "hint=" in told
    assert (while_half_written, while_missing) == (former.serial, renewed.serial)
    wrong = re.findall("port=(.*) why=.* does not belong to the certificate", mesh.output())
    assert set(wrong) == {"data", "admin"}
    assert len(wrong) <= 4, "of each as its files are read at first, and as they change"


async def test_an_expired_certificate_is_taken_up_and_warned_of_and_every_expiry_is_told(
    tmp_path: Path,
) -> None:
    async with TlsMesh(tmp_path, manifest(broker())) as mesh:
        expired = mesh.authority.issue(valid_for=timedelta(hours=-1))
        mesh.secret.put(expired, mesh.authority.pem)
        for port in ("data", "admin"):
            await mesh.until_logged("certificate expired", f"port={port} serial={expired.serial}")
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
            mesh.shown()

        renewed = mesh.authority.issue(valid_for=timedelta(days=30))
        mesh.secret.put(renewed, mesh.authority.pem)
        await mesh.until_shown(renewed)
        await mesh.until_shown(renewed, port=mesh.admin_port)
        scrape = await mesh.request("GET", "/metrics", port=mesh.admin_port)

    values = Scrape(scrape.body.decode()).of("cemesh_certificate_expiry_timestamp_seconds")
    until = renewed.expires.timestamp()
    told = {dict(labels)["port"]: value for labels, value in values.items()}
    assert told == {"data": until, "admin": until}


async def test_producers_show_a_certificate_where_the_data_port_asks_for_one(
    tmp_path: Path,
) -> None:
    async with TlsMesh(tmp_path, manifest(broker()), knows=["data"]) as mesh:
        url = f"https://127.0.0.1:{mesh.port}{PATH}"
        (tmp_path / "shop.pem").write_bytes(mesh.operator.certificate + mesh.operator.key)
        sending = ("send", url, "--type", "t", "--ca-certs", str(mesh.secret.authority))
        shop = str(tmp_path / "shop.pem")
        sent = await cemesh(*sending, "--cert", shop, "--key", shop)
        unknown = await cemesh(*sending)

        known = mesh.trusting(mesh.authority.issue("shop.test"))
        stranger = mesh.trusting(Authority().issue("shop.test"))

        with mesh.connection(known) as connection:
            assert ask(connection, "POST", PATH, headers=event("1")).status == 202
        for context in (mesh.trusting(), stranger):
            # By TLS 1.3 a client is told with the answer to its first request.
            with (
                pytest.raises((OSError, http.client.HTTPException)),
                mesh.connection(context) as connection,
            ):
                ask(connection, "POST", PATH, headers=event("2"))
        accepted = (await mesh.status()).brokers[0].accepted

        other = Authority()
        theirs = mesh.trusting(other.issue("shop.test"))
        mesh.secret.put(mesh.issued, other.pem)
        await mesh.until_logged("certificate renewed", "port=data")
        with mesh.connection(theirs) as connection:
            assert ask(connection, "POST", PATH, headers=event("3")).status == 202

    assert accepted == 2
    assert sent[0] == 0, sent
    assert unknown[0] == 3, unknown


async def test_the_admin_port_answers_probes_and_whoever_shows_a_certificate(
    tmp_path: Path,
) -> None:
    audit = tmp_path / "audit.log"
    orders = trigger("orders", "http://127.0.0.1:9/")
    async with TlsMesh(
        tmp_path,
        manifest(broker(), orders),
        knows=["admin"],
        arguments=["--audit-log", str(audit)],
    ) as mesh:
        port = mesh.admin_port
        with mesh.connection(port=port) as connection:
            found = {
                path: ask(connection, "GET", path).status
                for path in ("/healthz", "/readyz", "/", "/metrics", "/api/v1/status", "/healthz/x")
            }
            pause = "/api/v1/triggers/default/orders/pause"
            refused = ask(connection, "POST", pause, body=b'{"why": "x"}')
        with (
            pytest.raises((OSError, http.client.HTTPException)),
            mesh.connection(mesh.trusting(Authority().issue("x.test")), port=port) as connection,
        ):
            ask(connection, "GET", "/healthz")
        headers = {"Content-Type": "application/json", "Origin": f"https://{HOST}:{port}"}
        paused = await mesh.request("POST", pause, headers=headers, body=b'{"why": "x"}', port=port)

    assert found == {
        "/healthz": 200,
        "/readyz": 200,
        **dict.fromkeys(["/", "/metrics", "/api/v1/status", "/healthz/x"], 403),
    }
    assert (refused.status, paused.status) == (403, 200)
    noted = [json.loads(line) for line in audit.read_text().splitlines()]
    [who] = [each["certificate"] for each in noted if each["action"] == "pause"]
    assert who.startswith("CN=ann, ")


async def test_commands_ask_the_admin_port_by_tls(tmp_path: Path) -> None:
    async with TlsMesh(tmp_path, manifest(broker()), knows=["admin"]) as mesh:
        where = ("--admin-port", str(mesh.admin_port))
        (tmp_path / "ann.crt").write_bytes(mesh.operator.certificate)
        (tmp_path / "ann.key").write_bytes(mesh.operator.key)
        (tmp_path / "other.crt").write_bytes(Authority().pem)
        who = ("--admin-cert", str(tmp_path / "ann.crt"), "--admin-key", str(tmp_path / "ann.key"))
        authority = ("--admin-ca-certs", str(mesh.secret.authority))
        known_by = ("--admin-tls-cert", str(mesh.secret.certificate))
        await mesh.request("POST", PATH, headers=event("1"))

        plain = await cemesh("status", *where)
        without = await cemesh("status", *where, *authority)
        by_authority = await cemesh("status", *where, *authority, *who)
        by_certificate = await cemesh("status", *where, *known_by, *who)
        not_trusted = await cemesh(
            "status", *where, "--admin-ca-certs", str(tmp_path / "other.crt"), *who
        )
        also = ("--also", f"localhost:{mesh.admin_port}")
        told = await cemesh("event", "1", *where, *also, *authority, *who)

        # A certificate for another name is only taken by whoever knows it.
        elsewhere = mesh.authority.issue("elsewhere.test")
        mesh.secret.put(elsewhere, mesh.authority.pem)
        await mesh.until_logged("port=admin", elsewhere.serial)
        other_name = await cemesh("status", *where, *authority, *who)
        by_any_name = await cemesh("status", *where, *known_by, *who)

    for (code, output), expected, says in (
        (plain, 3, f"no mesh answers at 127.0.0.1:{mesh.admin_port}: does it speak TLS"),
        (without, 1, "the admin port answers to clients with a certificate alone"),
        (by_authority, 0, "default/default"),
        (by_certificate, 0, "default/default"),
        (not_trusted, 3, f"127.0.0.1:{mesh.admin_port} by TLS: its certificate is not trusted"),
        (told, 0, "accepted by default/default"),
        (other_name, 3, "IP address mismatch"),
        (by_any_name, 0, "default/default"),
    ):
        assert code == expected, output
        assert says in output


async def cemesh(*arguments: str) -> tuple[int, str]:
    """Run a command, and return its exit code and all that it has printed."""
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    return result.exit_code, " ".join(result.output.split())


async def test_a_client_that_rests_does_not_hold_the_end_up(tmp_path: Path) -> None:
    mesh = TlsMesh(tmp_path, manifest(broker()), arguments=["--drain-timeout", "10m"])
    async with mesh:
        with mesh.connection() as resting, mesh.connection(port=mesh.admin_port) as other:
            ask(resting, "POST", PATH, headers=event("1"))
            ask(other, "GET", "/healthz")

            assert await mesh.terminate() == 0


async def test_deliveries_trust_what_the_file_of_authorities_has_now(
    tmp_path: Path, running_mesh: Callable[..., RunningMesh]
) -> None:
    ours, file = Authority(), tmp_path / "trusted.pem"
    file.write_bytes(Authority().pem)
    issued, pair = ours.issue(), tmp_path / "pair.pem"
    pair.write_bytes(issued.certificate + issued.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair)
    async with Subscriber(tls=server) as subscriber:
        wanted = trigger("orders", subscriber.url("/", host="localhost"), backoff="PT0.2S")
        arguments = ("--ca-certs", str(file))
        async with running_mesh(manifest(broker(), wanted), arguments=arguments) as mesh:
            await mesh.request("POST", PATH, headers=event("1"))
            async with asyncio.timeout(WAIT):
                while True:
                    told = await mesh.request("GET", "/api/v1/story?id=1", port=mesh.admin_port)
                    if b"certificate is not trusted" in told.body:
                        break
                    await asyncio.sleep(0.05)

            file.write_bytes(b"half of it")
            async with asyncio.timeout(WAIT):
                while "authorities not taken up" not in mesh.output():
                    await asyncio.sleep(0.05)
            file.write_bytes(ours.pem)

            await subscriber.received_at("/", 1)
            assert "authorities renewed" in mesh.output()


def test_a_mesh_does_not_start_with_a_certificate_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(Authority().issue().certificate)
    (tmp_path / "tls.key").write_bytes(Authority().issue().key)
    (tmp_path / "mesh.yaml").write_text(manifest(broker()))
    command = (CEMESH, "run", "mesh.yaml", "--port", "0", "--admin-port", "0")

    ended = subprocess.run(
        [*command, "--tls-cert", "tls.crt", "--tls-key", "tls.key"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT,
    )

    assert ended.returncode == 3
    assert ended.stderr == (
        "cemesh cannot start: the data port cannot speak TLS: "
        "tls.key does not belong to the certificate in 'tls.crt'\n"
    )


def _rest(plain: socket.socket) -> bytes:
    """Return what comes until the connection ends."""
    read = b""
    try:
        while data := plain.recv(4096):
            read += data
    except ConnectionResetError:
        pass
    return read
