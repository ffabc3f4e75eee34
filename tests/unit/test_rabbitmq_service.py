"""The RabbitMQ of the tests: its listeners, its restarts, and how it is found, shared and ended."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from tests.services.missing import Missing
from tests.services.rabbitmq.distribution import Distribution, Environment, Installed, find
from tests.services.rabbitmq.management import Management, Refused
from tests.services.rabbitmq.server import RabbitMQServer, answers
from tests.services.rabbitmq.settings import PASSWORD, USER, Listeners
from tests.services.relay import Relay
from tests.services.server import listened_to
from tests.unit.desks import no_programs, program, run_pytest

PLAIN = f"{USER}:{PASSWORD}"

CUT_OFF = (AMQPError, ChannelInvalidStateError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """How aio-pika is told of a server."""

    url: str
    context: ssl.SSLContext | None = None


# --- the listeners -------------------------------------------------------------------------


def without_tls(listeners: Listeners, vhost: str, credentials: str = PLAIN) -> Client:
    return Client(url=f"amqp://{credentials}@{listeners.amqp}/{vhost}")


def tls(listeners: Listeners, vhost: str) -> Client:
    context = ssl.create_default_context(cafile=listeners.authority)
    return Client(url=f"amqps://{PLAIN}@{listeners.amqps}/{vhost}", context=context)


def certified(listeners: Listeners, vhost: str) -> Client:
    context = ssl.create_default_context(cafile=listeners.authority)
    context.load_cert_chain(listeners.client)
    return Client(url=f"amqps://{PLAIN}@{listeners.amqps}/{vhost}", context=context)


def mutual_tls(listeners: Listeners, vhost: str) -> Client:
    client = certified(listeners, vhost)
    return Client(url=f"amqps://{PLAIN}@{listeners.mtls}/{vhost}", context=client.context)


def external(listeners: Listeners, vhost: str) -> Client:
    client = certified(listeners, vhost)
    return Client(url=f"amqps://{listeners.mtls}/{vhost}?auth=external", context=client.context)


@asynccontextmanager
async def channel_of(client: Client) -> AsyncIterator[AbstractChannel]:
    async with asyncio.timeout(30):
        connection = await aio_pika.connect(client.url, ssl_context=client.context)
    async with connection:
        yield await connection.channel(publisher_confirms=True)


async def stored(client: Client, payload: bytes) -> str:
    """Return the new quorum queue that holds the payload."""
    queue = f"queue-{uuid.uuid4()}"
    async with channel_of(client) as channel:
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(payload, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue)
    return queue


async def first_of(client: Client, queue: str) -> bytes:
    """Return what stands first in the queue; it stays there.

    What somebody had in hand whose connection has ended comes back after a moment.
    """
    async with channel_of(client) as channel, asyncio.timeout(30):
        found = await channel.get_queue(queue)
        while (message := await found.get(fail=False)) is None:
            await asyncio.sleep(0.05)
    return message.body


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(without_tls, id="AMQP"),
        pytest.param(tls, id="AMQPS"),
        pytest.param(certified, id="AMQPS, with a certificate"),
        pytest.param(mutual_tls, id="mutual TLS"),
        pytest.param(external, id="mutual TLS, by EXTERNAL"),
    ],
)
async def test_a_listener_of_each_kind_takes_messages_and_gives_them_back(
    rabbitmq: str, rabbitmq_listeners: Listeners, client: Callable[[Listeners, str], Client]
) -> None:
    payload = b'{ "amount": 1.10 }'
    vhost = urlsplit(rabbitmq).path[1:]

    queue = await stored(client(rabbitmq_listeners, vhost), payload)

    assert await first_of(client(rabbitmq_listeners, vhost), queue) == payload


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(
            lambda listeners, vhost: without_tls(listeners, vhost, f"{USER}:guessed"),
            id="with a wrong password",
        ),
        pytest.param(
            lambda listeners, vhost: without_tls(listeners, f"{vhost}-of-others"),
            id="at a vhost that is not there",
        ),
        pytest.param(
            lambda listeners, vhost: Client(
                url=tls(listeners, vhost).url, context=ssl.create_default_context()
            ),
            id="who does not know the authority",
        ),
        pytest.param(
            lambda listeners, vhost: Client(
                url=mutual_tls(listeners, vhost).url, context=tls(listeners, vhost).context
            ),
            id="without a certificate, for mutual TLS",
        ),
        pytest.param(
            lambda listeners, vhost: Client(
                url=f"amqps://{listeners.amqps}/{vhost}?auth=external",
                context=tls(listeners, vhost).context,
            ),
            id="without a certificate, by EXTERNAL",
        ),
    ],
)
async def test_a_listener_refuses_whom_it_does_not_know(
    rabbitmq: str, rabbitmq_listeners: Listeners, client: Callable[[Listeners, str], Client]
) -> None:
    vhost = urlsplit(rabbitmq).path[1:]

    with pytest.raises(CUT_OFF):
        async with channel_of(client(rabbitmq_listeners, vhost)):
            pass


async def test_whoever_comes_through_the_relay_is_cut_off_with_it(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    through = Client(url=rabbitmq_relay.in_url(rabbitmq))

    async with channel_of(through) as channel:
        with rabbitmq_relay.cut():
            with pytest.raises(CUT_OFF):
                await channel.declare_queue("never")
            queue = await stored(Client(url=rabbitmq), b"beside it")

    assert await first_of(through, queue) == b"beside it"


# --- what an operator does -----------------------------------------------------------------


def vhosts(management: Management) -> Sequence[str]:
    return [str(each["name"]) for each in management.get(list[dict[str, object]], "vhosts")]


async def test_a_vhost_goes_with_all_that_is_in_it(
    rabbitmq_listeners: Listeners, rabbitmq_management: Management
) -> None:
    with rabbitmq_management.vhost() as vhost, rabbitmq_management.vhost() as other:
        queue = await stored(Client(url=rabbitmq_listeners.url(vhost)), b"1")
        assert {vhost, other} <= set(vhosts(rabbitmq_management))

    assert not {vhost, other} & set(vhosts(rabbitmq_management))
    with pytest.raises(Refused, match=rf"GET /api/queues/{vhost}/{queue}: 404 .*Not Found"):
        rabbitmq_management.get(object, "queues", vhost, queue)


async def test_a_connection_that_an_operator_closes_is_closed_for_its_client(
    rabbitmq: str, rabbitmq_management: Management
) -> None:
    vhost = urlsplit(rabbitmq).path[1:]
    async with channel_of(Client(url=rabbitmq)) as channel:
        assert await asyncio.to_thread(rabbitmq_management.close_connections, vhost) == 1

        with pytest.raises(CUT_OFF):
            await channel.declare_queue("never")


def test_connections_that_are_not_there_cannot_be_closed(rabbitmq_management: Management) -> None:
    with (
        rabbitmq_management.vhost() as vhost,
        pytest.raises(TimeoutError, match=f"0 connections to {vhost}, not 1"),
    ):
        rabbitmq_management.close_connections(vhost, within=0)


async def is_blocked(management: Management) -> None:
    """Return once a publisher is held up."""
    path = ("vhosts", "/", "connections")
    async with asyncio.timeout(30):
        while True:
            found = await asyncio.to_thread(management.get, list[dict[str, object]], *path)
            if "blocked" in [each.get("state") for each in found]:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_an_alarm_holds_up_whoever_publishes_for_as_long_as_it_lasts(
    rabbitmq_server: RabbitMQServer,
) -> None:
    client = Client(url=rabbitmq_server.listeners.url())

    async def publish(queue: str, alarm: AbstractContextManager[None]) -> None:
        async with channel_of(client) as channel:
            await asyncio.to_thread(alarm.__enter__)
            message = aio_pika.Message(b"1")
            publishing = asyncio.create_task(channel.default_exchange.publish(message, queue))
            await is_blocked(rabbitmq_server.management)
            assert not publishing.done()

            await asyncio.to_thread(alarm.__exit__, None, None, None)
            await publishing

    with rabbitmq_server:
        queue = await stored(client, b"before")
        await publish(queue, rabbitmq_server.memory_alarm())
        await publish(queue, rabbitmq_server.disk_alarm())

        with pytest.raises(RuntimeError, match=r"(?s)rabbitmqctl no_such: .*no_such"):
            rabbitmq_server.ctl("no_such")
        assert rabbitmq_server.ctl("list_queues", "name").split() == ["name", queue]


# --- a server of one's own -----------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_a_server_started_again_has_its_data_and_its_address(
    rabbitmq_server: RabbitMQServer,
) -> None:
    listeners = rabbitmq_server.listeners
    with rabbitmq_server:
        client = Client(url=listeners.url())
        queue = await stored(client, b"kept")

        for end in (rabbitmq_server.stop, rabbitmq_server.kill):
            end()
            everywhere = [*listeners.addresses(), listeners.distribution, listeners.epmd]
            assert not any(map(listened_to, everywhere))

            rabbitmq_server.restart()
            assert await first_of(client, queue) == b"kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken(Installed):
    """Programs that need no epmd, which may not be here."""

    def epmd(self, environment: Environment) -> Sequence[str]:
        return []


def broken_server(folder: Path, *lines: str) -> RabbitMQServer:
    """Return a server that runs this program instead of RabbitMQ's own."""
    program(folder, "rabbitmq-server", *lines)
    return RabbitMQServer(folder / "rabbitmq", Broken(scripts=folder, version="none"))


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    server = broken_server(tmp_path, "echo no such port", "exit 3")

    with pytest.raises(RuntimeError, match=r"(?s)RabbitMQ ended with 3 .*no such port"):
        server.start()


def test_a_server_that_does_not_answer_in_time_is_an_error_and_is_ended(tmp_path: Path) -> None:
    server = broken_server(tmp_path, "echo $$ > $0.pid", "exec sleep 60")

    with pytest.raises(RuntimeError, match="RabbitMQ does not answer"):
        server.start(within=1)

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "rabbitmq-server.pid").read_text()), 0)


def test_what_the_environment_says_of_other_servers_does_not_reach_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_NODE_PORT", "1")
    monkeypatch.setenv("RABBITMQ_NODENAME", "rabbit@production")
    monkeypatch.setenv("ERL_FLAGS", "-setcookie theirs")
    program(tmp_path, "rabbitmq-server", "env")
    told = {"RABBITMQ_NODENAME": "cemesh@localhost"}

    command = Installed(scripts=tmp_path, version="none").server(tmp_path, told)

    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert [line for line in said.splitlines() if line.startswith(("RABBITMQ_", "ERL_"))] == [
        "RABBITMQ_NODENAME=cemesh@localhost"
    ]


# --- one server for a test run -------------------------------------------------------------

PLUGIN = "tests.services.rabbitmq.fixtures"

SHARING = """
import os, pathlib, signal
from urllib.parse import urlsplit
from tests.services.rabbitmq.server import answers

URL = pathlib.Path(__file__).with_name("url")

def test_in_a_worker_that_crashes(rabbitmq):
    URL.write_text(rabbitmq)
    os.kill(os.getpid(), signal.SIGKILL)

def test_in_the_next_worker(rabbitmq):
    mine, other = urlsplit(rabbitmq), urlsplit(URL.read_text())
    assert mine.netloc == other.netloc
    assert mine.path != other.path
    assert answers(f"{mine.hostname}:{mine.port}")

def test_that_fails(rabbitmq):
    assert not rabbitmq
"""


@pytest.mark.timeout(180)
async def test_the_shared_server_outlives_its_worker_and_ends_with_the_run(
    tmp_path: Path, rabbitmq_distribution: Distribution
) -> None:
    output = run_pytest(tmp_path, PLUGIN, SHARING, "--numprocesses", "1")

    assert "2 failed, 1 passed" in output
    assert "worker 'gw0' crashed" in output
    assert "--- the end of what RabbitMQ printed" in output
    url = urlsplit((tmp_path / "url").read_text())
    async with asyncio.timeout(30):
        while answers(f"{url.hostname}:{url.port}"):
            await asyncio.sleep(0.05)


GIVEN = """
def test_of_any_server(rabbitmq):
    print("given", rabbitmq)

def test_of_its_listeners(rabbitmq_listeners): ...

def test_of_its_management(rabbitmq_management): ...

def test_of_its_restarts(rabbitmq_server): ...
"""


def test_a_server_that_is_given_is_the_shared_one_and_the_only_one(
    tmp_path: Path, rabbitmq: str, rabbitmq_distribution: Distribution
) -> None:
    output = run_pytest(
        tmp_path, PLUGIN, GIVEN, "-s", environment={"CEMESH_TEST_RABBITMQ": rabbitmq}
    )

    assert f"given {rabbitmq}\n" in output
    assert "1 passed, 3 skipped" in output
    assert "CEMESH_TEST_RABBITMQ gives another" in output


def test_a_server_that_is_given_and_does_not_answer_is_an_error(tmp_path: Path) -> None:
    given = {"CEMESH_TEST_RABBITMQ": "amqp://me:secret@127.0.0.1:1/v"}

    output = run_pytest(tmp_path, PLUGIN, GIVEN, environment=given)

    assert "nothing listens at 127.0.0.1:1, which CEMESH_TEST_RABBITMQ gives" in output
    assert "3 skipped, 1 error" in output


# --- what it runs with ---------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder, empty, of all the programs that are found by name, by root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return no_programs(tmp_path / "programs", monkeypatch)


@pytest.fixture
def debians(tmp_path: Path) -> Path:
    """Return where Debian's package would be."""
    return tmp_path / "debian" / "bin" / "rabbitmq-server"


def installs(version: str, debians: Path) -> Sequence[str]:
    """Return the lines of a program that does what installing the package does."""
    home = debians.parent.parent
    return (
        f'mkdir -p "{home}/plugins/rabbit-{version}" "{home}/plugins/rabbit_common-{version}"',
        f'mkdir -p "{debians.parent}" && touch "{debians}"',
    )


def reason(found: Distribution | Missing) -> str:
    assert isinstance(found, Missing)
    return found.reason


def test_without_apt_the_reason_says_what_to_do(
    programs: Path, tmp_path: Path, debians: Path
) -> None:
    said = reason(find(tmp_path, debians))

    assert "none of 3.10 or newer is installed (there is no apt-get)" in said
    assert "no Docker has rabbitmq:4" in said
    assert "sudo apt-get install rabbitmq-server" in said
    assert "CEMESH_TEST_RABBITMQ=amqp://user:password@host:port/vhost" in said


def test_only_root_installs(
    programs: Path, tmp_path: Path, debians: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    apt = program(programs, "apt-get", 'echo run >> "$0.log"')

    assert "(only root may install it)" in reason(find(tmp_path, debians))
    assert not apt.with_suffix(".log").exists()


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("update", "(`apt-get update` failed: E: no network)"),
        ("install", "(`apt-get install` failed: E: no network)"),
    ],
)
def test_what_apt_fails_of_is_told(
    programs: Path, tmp_path: Path, debians: Path, failing: str, said: str
) -> None:
    lines = (f"[ $2 = {failing} ] || exit 0", "echo E: no network", "echo ignored", "exit 100")
    program(programs, "apt-get", *lines)

    assert said in reason(find(tmp_path, debians))


def test_a_package_that_is_too_old_is_named(programs: Path, tmp_path: Path, debians: Path) -> None:
    program(programs, "apt-get", "PATH=/bin", *installs("3.9.13", debians))

    assert "(the package rabbitmq-server is older)" in reason(find(tmp_path, debians))


def test_it_is_installed_once_also_by_two_at_a_time(
    programs: Path, tmp_path: Path, debians: Path
) -> None:
    lines = ('echo "$2" >> "$0.log"', "PATH=/bin", "sleep 0.3", *installs("4.1.0", debians))
    apt = program(programs, "apt-get", *lines)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda kept: find(kept, debians), [tmp_path, tmp_path])

    assert first == second == Installed(scripts=debians.parent, version="4.1.0")
    assert apt.with_suffix(".log").read_text().split() == ["update", "install"]


def test_installing_starts_and_enables_no_service(
    programs: Path, tmp_path: Path, debians: Path
) -> None:
    for each in ("deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "update-rc.d"):
        program(programs, each, 'echo started >> "$0.log"')
    apt = program(
        programs,
        "apt-get",
        "for each; do case $each in DPkg::Path=*) packages=${each#*=} ;; esac; done",
        '[ -n "$packages" ] || exit 0',
        f'PATH="$packages:{programs}"',
        'deb-systemd-helper enable its.service && echo enabled >> "$0.log"',
        'deb-systemd-invoke start its.service && echo invoked >> "$0.log"',
        'invoke-rc.d it start && update-rc.d it defaults && echo ran >> "$0.log"',
        *installs("3.10.8", debians),
    )

    assert isinstance(find(tmp_path, debians), Installed)

    assert apt.with_suffix(".log").read_text().split() == ["enabled", "invoked", "ran"]
    assert [each.name for each in programs.glob("*.log")] == ["apt-get.log"]


def test_docker_that_works_stands_in(programs: Path, tmp_path: Path, debians: Path) -> None:
    program(programs, "docker", "exit 0")

    found = find(tmp_path, debians)

    assert not isinstance(found, Missing)
    assert found.server(tmp_path, {"RABBITMQ_LOGS": "-"})[0] == "docker"
    assert "--env=RABBITMQ_LOGS=-" in found.server(tmp_path, {"RABBITMQ_LOGS": "-"})


def test_docker_that_has_no_engine_or_image_does_not(
    programs: Path, tmp_path: Path, debians: Path
) -> None:
    program(programs, "docker", "exit 1")

    assert "no Docker has rabbitmq:4" in reason(find(tmp_path, debians))
