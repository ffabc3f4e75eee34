"""Connections to a real RabbitMQ: each way in, what keeps a client out, and what ends them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.channels.rabbitmq import link
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.security import Security
from broker.channels.rabbitmq.settings import Settings
from broker.connections.rabbitmq import connecting
from broker.connections.rabbitmq.connecting import close, connect, reported
from broker.connections.rabbitmq.connection import Connection
from broker.errors import ChannelUnavailable
from tests.contract.rabbitmq import SOON, settings_of, until
from tests.services.mesh import HOST, free_port
from tests.services.rabbitmq.management import Management
from tests.services.rabbitmq.settings import PASSWORD, USER, Listeners
from tests.services.relay import Relay

KNOWN = Security(user=USER, password=PASSWORD)

Way = Callable[[Listeners], Settings]


def settings_at(address: str, *, tls: bool = False, security: Security = KNOWN) -> Settings:
    host, _, port = address.rpartition(":")
    return Settings(host=host, port=int(port), tls=tls, vhost="/", security=security)


def with_certificate(listeners: Listeners, security: Security) -> Security:
    key, begin, certificate = Path(listeners.client).read_text().partition("-----BEGIN CERT")
    return replace(security, private_key=key, certificate=begin + certificate)


def trusting(listeners: Listeners, security: Security = KNOWN) -> Security:
    return replace(security, ca_certs=Path(listeners.authority).read_text())


def plain(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqp)


def tls(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqps, tls=True, security=trusting(listeners))


def mutual_tls(listeners: Listeners) -> Settings:
    security = with_certificate(listeners, trusting(listeners))
    return settings_at(listeners.mtls, tls=True, security=security)


def external(listeners: Listeners) -> Settings:
    security = with_certificate(listeners, trusting(listeners, Security()))
    return settings_at(listeners.mtls, tls=True, security=security)


@asynccontextmanager
async def connected(settings: Settings, purpose: str = "test") -> AsyncIterator[Connection]:
    connection = await connect(settings, purpose)
    try:
        yield connection
    finally:
        await close(connection)


@pytest.mark.parametrize("way", [plain, tls, mutual_tls, external])
async def test_each_way_in_leads_to_a_channel(rabbitmq_listeners: Listeners, way: Way) -> None:
    async with connected(way(rabbitmq_listeners)) as connection:
        channel = await connection.channel()

        declared = await channel.queue_declare(exclusive=True)

        assert declared.queue


async def test_the_servers_list_tells_what_a_connection_is_for(
    rabbitmq: str, rabbitmq_management: Management
) -> None:
    settings = settings_of(rabbitmq)
    async with connected(settings, "publisher"):

        def listed() -> list[dict[str, object]]:
            path = ("vhosts", settings.vhost, "connections")
            found = rabbitmq_management.get(list[dict[str, object]], *path)
            return [each for each in found if each.get("user") == USER and "timeout" in each]

        await until_in_thread(listed)
        (told,) = await asyncio.to_thread(listed)

    assert str(told["user_provided_name"]).startswith("cemesh publisher of ")
    assert told["timeout"] == connecting.HEARTBEAT.total_seconds()
    properties = told["client_properties"]
    assert isinstance(properties, dict)
    assert properties["connection_name"] == told["user_provided_name"]


async def until_in_thread(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("password", ["p@ss/w:rd?#%", "%2F&+ =é", "a\\b\"c'"])
async def test_a_password_may_be_anything(
    rabbitmq: str, rabbitmq_management: Management, password: str
) -> None:
    with somebody(rabbitmq_management, settings_of(rabbitmq), password) as settings:
        async with connected(settings) as connection:
            assert connection.is_opened


@contextmanager
def somebody(
    management: Management, settings: Settings, password: str, *, may: str | None = ".*"
) -> Iterator[Settings]:
    """Have a user in the vhost, who may use whatever has a name like that."""
    name = f"somebody of {settings.vhost}"
    management.put("users", name, body={"password": password, "tags": ""})
    if may is not None:
        rights = {"configure": may, "write": may, "read": may}
        management.put("permissions", settings.vhost, name, body=rights)
    try:
        yield replace(settings, security=Security(user=name, password=password))
    finally:
        management.delete("users", name)


# --- who is not let in ---------------------------------------------------------------------


def guessed(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqp, security=Security(user=USER, password="guessed"))


def nobody(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqp, security=Security(user="nobody", password="guessed"))


def guest(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqp, security=Security())


def elsewhere(listeners: Listeners) -> Settings:
    return replace(plain(listeners), vhost="no such place")


def of_another_authority(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqps, tls=True)


def plain_to_tls(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqps)


def tls_to_plain(listeners: Listeners) -> Settings:
    return replace(tls(listeners), port=plain(listeners).port)


def without_certificate(listeners: Listeners) -> Settings:
    return replace(tls(listeners), port=mutual_tls(listeners).port)


def external_without_tls(listeners: Listeners) -> Settings:
    return settings_at(listeners.amqp, security=with_certificate(listeners, Security()))


def unknown_host(listeners: Listeners) -> Settings:
    return replace(plain(listeners), host="no-such-host.invalid")


def no_host(listeners: Listeners) -> Settings:
    return replace(plain(listeners), host="rabbitmq..example.com")


def unheard(listeners: Listeners) -> Settings:
    return settings_at(f"{HOST}:{free_port()}")


@pytest.mark.parametrize(
    ("way", "told"),
    [
        (guessed, f"does not let the user '{USER}' in; are the user and the password .* knows?"),
        (nobody, "does not let the user 'nobody' in; .* knows?"),
        (
            guest,
            "does not let the user 'guest' in; .* It may let 'guest' in from its own host alone",
        ),
        (
            elsewhere,
            f"does not let the user '{USER}' into the virtual host 'no such place': .*not found",
        ),
        (of_another_authority, r"TLS: self.signed certificate.*'ca\.crt'"),
        (plain_to_tls, r"closed the connection at once; does it expect TLS .*amqps://"),
        (tls_to_plain, "TLS: .*; does it speak TLS at that port?"),
        (without_certificate, r"(expect a certificate of the client|TLS: .*CERT).*'tls\.crt'"),
        (external_without_tls, "by PLAIN, and not by EXTERNAL; .*TLS"),
        (unknown_host, "its host name is not known"),
        (no_host, "idna.*label empty"),
        (unheard, "Connection refused"),
    ],
)
async def test_whoever_is_not_let_in_is_told_what_to_look_at(
    rabbitmq_listeners: Listeners, way: Way, told: str
) -> None:
    settings = way(rabbitmq_listeners)

    with pytest.raises(ChannelUnavailable, match=told) as caught:
        await connect(settings, "test")

    text = str(caught.value)
    assert text.startswith(f"RabbitMQ at {settings.server} cannot be used: ")
    assert "guessed" not in text
    assert PASSWORD not in text


async def test_a_user_without_permissions_in_the_vhost_is_told_so(
    rabbitmq: str, rabbitmq_management: Management
) -> None:
    with somebody(rabbitmq_management, settings_of(rabbitmq), "secret", may=None) as settings:
        told = f"does not let the user '{settings.user}' into the virtual host '{settings.vhost}'"

        with pytest.raises(ChannelUnavailable, match=f"{told}: .*; .*permissions in it"):
            await connect(settings, "test")


async def test_a_user_without_the_permission_for_a_queue_is_told_which(
    rabbitmq: str, rabbitmq_management: Management
) -> None:
    with somebody(rabbitmq_management, settings_of(rabbitmq), "secret", may="mine") as settings:
        async with Link(settings, "test") as link:
            channel = await link.open_channel()

            with (
                pytest.raises(ChannelUnavailable, match=r"queue 'yours' .* have permissions"),
                reported(settings),
            ):
                await channel.queue_declare("yours")


async def test_a_server_that_does_not_answer_is_given_up(
    rabbitmq: str, rabbitmq_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "_CONNECTED_WITHIN", 0.5)
    settings = settings_of(rabbitmq_relay.in_url(rabbitmq))

    for each in (settings, replace(settings, tls=True)):
        with rabbitmq_relay.hung(), pytest.raises(ChannelUnavailable, match="no answer within"):
            async with asyncio.timeout(SOON):
                await connect(each, "test")


# --- what ends a connection ----------------------------------------------------------------


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return what the mesh has told of the channel so far: the level and the stage."""
    return [
        (each.levelname, each.getMessage())
        for each in caplog.records
        if each.name == "cemesh.channel" and each.levelno >= logging.INFO
    ]


def why(caplog: pytest.LogCaptureFixture, stage: str, level: str = "WARNING") -> str:
    """Return what the mesh told of that stage, once."""
    (found,) = [
        each for each in caplog.records if (each.levelname, each.getMessage()) == (level, stage)
    ]
    return str(vars(found)["why"])


LOST = ("WARNING", "rabbitmq connection lost")
OUT = ("WARNING", "rabbitmq unreachable")
BACK = ("INFO", "rabbitmq reachable again")


async def works(link: Link) -> bool:
    channel = await link.open_channel()
    with reported(link.settings):
        declared = await channel.queue_declare(exclusive=True)
        await channel.close()
    return bool(declared.queue)


async def test_a_connection_that_an_operator_closes_is_told_and_opened_again(
    rabbitmq: str, rabbitmq_management: Management, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cemesh.channel")
    settings = settings_of(rabbitmq)
    async with Link(settings, "test") as link:
        await asyncio.to_thread(rabbitmq_management.close_connections, settings.vhost)
        await until(lambda: BACK in told(caplog))

        assert told(caplog) == [LOST, BACK]
        assert f"{settings.server}: it closed the connection: CONN" in why(caplog, LOST[1])
        assert link.trouble is None
        assert await works(link)


async def test_while_the_server_cannot_be_reached_everybody_is_told_so_at_once(
    rabbitmq: str, rabbitmq_relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cemesh.channel")
    async with Link(settings_of(rabbitmq_relay.in_url(rabbitmq)), "test") as link:
        with rabbitmq_relay.cut():
            await until(lambda: OUT in told(caplog))
            with pytest.raises(ChannelUnavailable, match="Connection refused"):
                await link.open_channel()
            assert link.trouble is not None
            assert rabbitmq_relay.address in link.trouble
        await until(lambda: BACK in told(caplog))

        assert told(caplog) == [LOST, OUT, BACK]
        assert await works(link)


async def test_who_asks_for_a_channel_while_the_server_is_tried_for_gets_it(
    rabbitmq: str, rabbitmq_relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cemesh.channel")
    async with Link(settings_of(rabbitmq_relay.in_url(rabbitmq)), "test") as link:
        with rabbitmq_relay.hung():
            with rabbitmq_relay.cut():
                await until(lambda: OUT in told(caplog))
            asked = [asyncio.create_task(link.open_channel())]
            await asyncio.sleep(0)
            await until(lambda: not link._asking)  # the attempt under way is for the first one
            asked.append(asyncio.create_task(link.open_channel()))
            await until(lambda: link._asking)
        async with asyncio.timeout(SOON):
            channels = await asyncio.gather(*asked)

        assert {each.number for each in channels} == {1, 2}


async def test_a_server_gone_silent_is_noticed_by_its_heartbeats(
    rabbitmq: str, rabbitmq_relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cemesh.channel")
    settings = settings_of(rabbitmq_relay.in_url(rabbitmq))
    async with Link(settings, "test", heartbeat=timedelta(seconds=1)) as link:
        channel = await link.open_channel()
        with rabbitmq_relay.hung():
            with pytest.raises(ChannelUnavailable, match="silent for too long"), reported(settings):
                await channel.queue_declare(exclusive=True)
            assert link.trouble is not None
            assert "silent for too long" in link.trouble
        await until(lambda: BACK in told(caplog))

        assert told(caplog)[0] == LOST
        assert await works(link)


@pytest.mark.parametrize("way", [plain, tls])
async def test_a_silent_server_holds_nobody_up_who_leaves(
    rabbitmq_listeners: Listeners, way: Way
) -> None:
    settings = way(rabbitmq_listeners)
    async with Relay(f"{HOST}:{free_port()}", to=settings.server) as relay:
        port = int(relay.address.partition(":")[2])
        # Heartbeats, too, would end the connection in the end.
        link = Link(replace(settings, port=port), "test", heartbeat=timedelta(hours=1))
        await link.__aenter__()
        with relay.hung():
            async with asyncio.timeout(20):  # less than TLS would wait by itself
                await link.__aexit__(None, None, None)


async def test_a_password_that_was_changed_is_told_and_tried_until_it_is_put_right(
    rabbitmq: str, rabbitmq_management: Management, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cemesh.channel")
    with somebody(rabbitmq_management, settings_of(rabbitmq), "secret") as settings:
        path, user = ("users", str(settings.user)), {"password": "secret", "tags": ""}
        async with Link(settings, "test") as link:
            rabbitmq_management.put(*path, body={**user, "password": "another"})
            await asyncio.to_thread(rabbitmq_management.close_connections, settings.vhost)
            await until(lambda: OUT in told(caplog))
            assert f"does not let the user '{settings.user}' in" in why(caplog, OUT[1])
            rabbitmq_management.put(*path, body=user)
            await until(lambda: BACK in told(caplog))

            assert await works(link)


@pytest.mark.parametrize(
    ("is_cancelled", "error"), [(False, ChannelUnavailable), (True, asyncio.CancelledError)]
)
async def test_a_wait_that_aiormq_breaks_off_is_told_from_a_task_that_is_cancelled(
    rabbitmq: str, is_cancelled: bool, error: type[BaseException]
) -> None:
    answer = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        with reported(settings_of(rabbitmq)):
            await answer

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    if is_cancelled:
        asking.cancel()
    else:
        answer.cancel()

    with pytest.raises(error):
        await asking


# --- work over connections -----------------------------------------------------------------


async def test_work_is_broken_off_with_its_connection_and_begun_over_the_next(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    begun: list[Connection] = []
    ended: list[Connection] = []

    async def work(connection: Connection) -> None:
        begun.append(connection)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(connection)

    async with Link(settings_of(rabbitmq_relay.in_url(rabbitmq)), "test") as link:
        keeping = asyncio.create_task(link.keep(work))
        await until(lambda: len(begun) == 1)
        with rabbitmq_relay.cut():
            await until(lambda: ended == begun)
        await until(lambda: len(begun) == 2)
        keeping.cancel()
        await asyncio.wait({keeping})

        assert begun[0] is not begun[1]
        assert ended == begun


async def test_work_that_fails_is_begun_again_and_told_once(
    rabbitmq: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_BEGUN_AGAIN_AFTER", 0.2)
    begun: list[Connection] = []
    started = time.monotonic()

    async def work(connection: Connection) -> None:
        begun.append(connection)
        if len(begun) < 4:
            raise ChannelUnavailable("there is no queue 'orders'")
        await asyncio.Event().wait()

    async with Link(settings_of(rabbitmq), "test") as kept, asyncio.TaskGroup() as group:
        keeping = group.create_task(kept.keep(work))
        await until(lambda: len(begun) == 4)
        keeping.cancel()

    assert time.monotonic() - started > 3 * 0.2
    assert len(set(begun)) == 1
    assert told(caplog) == [("WARNING", "cannot use rabbitmq")]
    assert why(caplog, "cannot use rabbitmq") == "there is no queue 'orders'"


async def test_work_that_aiormq_breaks_off_is_begun_again(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_BEGUN_AGAIN_AFTER", 0.01)
    begun: list[Connection] = []

    async def work(connection: Connection) -> None:
        begun.append(connection)
        answer = asyncio.get_running_loop().create_future()
        if len(begun) == 1:
            answer.cancel()
        await answer

    async with Link(settings_of(rabbitmq), "test") as kept, asyncio.TaskGroup() as group:
        keeping = group.create_task(kept.keep(work))
        await until(lambda: len(begun) == 2)
        keeping.cancel()


async def test_work_that_loses_its_cancellation_is_cancelled_again(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_CANCELLED_EVERY", 0.05)
    lost: list[asyncio.CancelledError] = []

    async def work(_: Connection) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                if lost:
                    raise
                lost.append(error)

    async with Link(settings_of(rabbitmq), "test") as kept:
        keeping = asyncio.create_task(kept.keep(work))
        await asyncio.sleep(0)
        keeping.cancel()
        async with asyncio.timeout(SOON):
            await asyncio.wait({keeping})

    assert keeping.cancelled()
    assert lost


async def test_work_that_is_done_rests_until_the_next_connection(
    rabbitmq: str, rabbitmq_management: Management
) -> None:
    begun: list[Connection] = []

    async def work(connection: Connection) -> None:
        begun.append(connection)

    settings = settings_of(rabbitmq)
    async with Link(settings, "test") as kept, asyncio.TaskGroup() as group:
        keeping = group.create_task(kept.keep(work))
        await until(lambda: begun)
        await asyncio.to_thread(rabbitmq_management.close_connections, settings.vhost)
        await until(lambda: len(begun) > 1)
        keeping.cancel()

    assert len(begun) == len(set(begun)) == 2


async def test_a_bug_in_the_work_is_no_trouble_but_ends_the_keeping(rabbitmq: str) -> None:
    async def work(_: Connection) -> None:
        raise ZeroDivisionError

    async with Link(settings_of(rabbitmq), "test") as kept:
        with pytest.raises(ZeroDivisionError):
            await kept.keep(work)
