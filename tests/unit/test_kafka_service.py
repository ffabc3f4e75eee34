"""The Kafka of the tests: its listeners, its restarts, and how it is found, shared and ended."""

from __future__ import annotations

import asyncio
import os
import ssl
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.services.kafka.archive import archived
from tests.services.kafka.distribution import Distribution, find
from tests.services.kafka.server import KafkaServer, answers
from tests.services.kafka.settings import PASSWORD, SASL_MECHANISMS, USER, Listeners
from tests.services.maven import Jars
from tests.services.missing import Missing
from tests.services.relay import Relay
from tests.unit.desks import no_programs, program, run_pytest

Client = dict[str, Any]
"""How aiokafka is told of a server."""


# --- the listeners -------------------------------------------------------------------------


def plaintext(listeners: Listeners) -> Client:
    return {"bootstrap_servers": listeners.plaintext}


def sasl_plaintext(listeners: Listeners, mechanism: str, password: str = PASSWORD) -> Client:
    return {
        "bootstrap_servers": listeners.sasl_plaintext,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": USER,
        "sasl_plain_password": password,
    }


def tls(listeners: Listeners) -> Client:
    context = ssl.create_default_context(cafile=listeners.authority)
    return {
        "bootstrap_servers": listeners.ssl,
        "security_protocol": "SSL",
        "ssl_context": context,
    }


def mutual_tls(listeners: Listeners) -> Client:
    client = tls(listeners) | {"bootstrap_servers": listeners.mtls}
    client["ssl_context"].load_cert_chain(listeners.client)
    return client


def sasl_ssl(listeners: Listeners, mechanism: str, password: str = PASSWORD) -> Client:
    return {
        **tls(listeners),
        **sasl_plaintext(listeners, mechanism, password),
        "bootstrap_servers": listeners.sasl_ssl,
        "security_protocol": "SASL_SSL",
    }


async def stored(client: Client, payload: bytes) -> str:
    """Return the new topic that holds the payload."""
    topic = f"topic-{uuid.uuid4()}"
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(**client, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, payload)
    return topic


async def first_of(client: Client, topic: str) -> bytes:
    """Return what a member of a new group is given first."""
    settings = {"group_id": f"group-{uuid.uuid4()}", "auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer(topic, **client, **settings) as consumer, asyncio.timeout(30):
        record = await consumer.getone()
        await consumer.commit()
    payload: bytes = record.value
    return payload


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(plaintext, id="PLAINTEXT"),
        pytest.param(tls, id="SSL"),
        pytest.param(mutual_tls, id="mutual TLS"),
        *(
            pytest.param(
                lambda listeners, each=each: sasl_plaintext(listeners, each),
                id=f"SASL_PLAINTEXT {each}",
            )
            for each in SASL_MECHANISMS
        ),
        *(
            pytest.param(
                lambda listeners, each=each: sasl_ssl(listeners, each), id=f"SASL_SSL {each}"
            )
            for each in SASL_MECHANISMS
        ),
    ],
)
async def test_a_listener_of_each_kind_takes_records_and_gives_them_back(
    kafka_listeners: Listeners, client: Callable[[Listeners], Client]
) -> None:
    payload = b'{ "amount": 1.10 }'

    topic = await stored(client(kafka_listeners), payload)

    assert await first_of(client(kafka_listeners), topic) == payload


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(
            lambda listeners: plaintext(listeners) | {"bootstrap_servers": listeners.ssl},
            id="SSL, of a client that speaks none",
        ),
        pytest.param(
            lambda listeners: tls(listeners) | {"ssl_context": ssl.create_default_context()},
            id="SSL, of a client that does not know the authority",
        ),
        pytest.param(
            lambda listeners: tls(listeners) | {"bootstrap_servers": listeners.mtls},
            id="mutual TLS, without a certificate",
        ),
        pytest.param(
            lambda listeners: (
                plaintext(listeners) | {"bootstrap_servers": listeners.sasl_plaintext}
            ),
            id="SASL, without a password",
        ),
        *(
            pytest.param(
                lambda listeners, each=each: sasl_plaintext(listeners, each, "guessed"),
                id=f"{each}, with a wrong password",
            )
            for each in SASL_MECHANISMS
        ),
    ],
)
async def test_a_listener_refuses_whom_it_does_not_know(
    kafka_listeners: Listeners, client: Callable[[Listeners], Client]
) -> None:
    producer = AIOKafkaProducer(**client(kafka_listeners), request_timeout_ms=2000)

    try:
        with pytest.raises(KafkaError):
            await producer.start()
    finally:
        await producer.stop()


async def test_whoever_comes_through_the_relay_stays_there_and_is_cut_off_with_it(
    kafka_relay: Relay, kafka_listeners: Listeners
) -> None:
    through = {"bootstrap_servers": kafka_relay.address}
    topic = await stored(through, b"1")

    async with AIOKafkaProducer(**through, request_timeout_ms=2000) as producer:
        with kafka_relay.cut():
            with pytest.raises(KafkaError):
                await producer.send_and_wait(topic, b"2")
            assert await first_of(plaintext(kafka_listeners), topic) == b"1"
        await producer.send_and_wait(topic, b"3")


# --- a server of one's own -----------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_a_server_started_again_has_its_data_and_its_address(
    kafka_server: KafkaServer,
) -> None:
    with kafka_server:
        client = plaintext(kafka_server.listeners)
        topic = await stored(client, b"kept")

        for end in (kafka_server.stop, kafka_server.kill):
            end()
            assert not answers(kafka_server.address)

            kafka_server.restart()
            assert await first_of(client, topic) == b"kept"


def broken_server(folder: Path, *lines: str) -> KafkaServer:
    """Return a server, formatted, that runs this program instead of Java."""
    java = program(folder, "java", *lines)
    server = KafkaServer(folder / "kafka", Jars(program=str(java), jars=folder))
    (folder / "kafka" / "data").mkdir()
    (folder / "kafka" / "data" / "meta.properties").touch()
    return server


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    server = broken_server(tmp_path, "echo no such port", "exit 3")

    with pytest.raises(RuntimeError, match=r"(?s)ended with 3 .*no such port"):
        server.start()


def test_a_server_that_does_not_answer_in_time_is_an_error_and_is_ended(tmp_path: Path) -> None:
    server = broken_server(tmp_path, "echo $$ > $0.pid", "exec sleep 60")

    with pytest.raises(RuntimeError, match="does not answer"):
        server.start(within=1)

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "java.pid").read_text()), 0)


def test_data_that_cannot_be_formatted_are_an_error_with_the_tools_words(tmp_path: Path) -> None:
    java = program(tmp_path, "java", "echo disk full", "exit 1")
    server = KafkaServer(tmp_path / "kafka", Jars(program=str(java), jars=tmp_path))

    with pytest.raises(RuntimeError, match=r"(?s)did not format .*disk full"):
        server.start()


# --- one server for a test run -------------------------------------------------------------

PLUGIN = "tests.services.kafka.fixtures"

SHARING = """
import os, pathlib, signal
from tests.services.kafka.server import answers

ADDRESS = pathlib.Path(__file__).with_name("address")

def test_in_a_worker_that_crashes(kafka):
    ADDRESS.write_text(kafka)
    os.kill(os.getpid(), signal.SIGKILL)

def test_in_the_next_worker(kafka):
    assert kafka == ADDRESS.read_text()
    assert answers(kafka)

def test_that_fails(kafka):
    assert not kafka
"""


@pytest.mark.timeout(180)
async def test_the_shared_server_outlives_its_worker_and_ends_with_the_run(
    tmp_path: Path, kafka_distribution: Distribution
) -> None:
    output = run_pytest(tmp_path, PLUGIN, SHARING, "--numprocesses", "1")

    assert "2 failed, 1 passed" in output
    assert "worker 'gw0' crashed" in output
    assert "--- the end of what Kafka printed" in output
    async with asyncio.timeout(30):
        while answers((tmp_path / "address").read_text()):
            await asyncio.sleep(0.05)


GIVEN = """
def test_of_any_server(kafka):
    print("given", kafka)

def test_of_its_listeners(kafka_listeners): ...

def test_of_its_restarts(kafka_server): ...
"""


def test_a_server_that_is_given_is_the_shared_one_and_the_only_one(
    tmp_path: Path, kafka_listeners: Listeners
) -> None:
    given = {"CEMESH_TEST_KAFKA": kafka_listeners.plaintext}

    output = run_pytest(tmp_path, PLUGIN, GIVEN, "-s", environment=given)

    assert f"given {kafka_listeners.plaintext}" in output
    assert "1 passed, 2 skipped" in output
    assert "CEMESH_TEST_KAFKA gives another" in output


def test_a_server_that_is_given_and_does_not_answer_is_an_error(tmp_path: Path) -> None:
    given = {"CEMESH_TEST_KAFKA": "127.0.0.1:1"}

    output = run_pytest(tmp_path, PLUGIN, GIVEN, environment=given)

    assert "no Kafka answers at CEMESH_TEST_KAFKA=127.0.0.1:1" in output
    assert "2 skipped, 1 error" in output


# --- what it runs with ---------------------------------------------------------------------

JAVA_17 = "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2"
FETCHING = (
    'echo fetched >> "$0.log"',
    "for each; do case $each in",
    '  -DoutputDirectory=*) sleep 0.3; mkdir -p "${each#*=}" ;;',
    "esac; done",
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return no_programs(tmp_path / "programs", monkeypatch)


def reason(found: Distribution | Missing) -> str:
    assert isinstance(found, Missing)
    return found.reason


@pytest.mark.parametrize("version", [None, "1.8.0_402", "11.0.22"])
def test_without_java_17_the_reason_says_what_is_missing(
    programs: Path, tmp_path: Path, version: str | None
) -> None:
    if version is not None:
        program(programs, "java", f"echo 'openjdk version \"{version}\"' >&2")

    said = reason(find(tmp_path))

    assert "no Java 17 or newer, and no Docker that has apache/kafka:" in said
    assert "CEMESH_TEST_KAFKA=host:port" in said


def test_without_maven_the_reason_says_so(programs: Path, tmp_path: Path) -> None:
    program(programs, "java", JAVA_17)

    assert "no Maven" in reason(find(tmp_path))


def test_what_maven_fails_of_is_told_and_it_is_asked_again(programs: Path, tmp_path: Path) -> None:
    program(programs, "java", JAVA_17)
    program(programs, "mvn", "echo '[ERROR] central is unknown'", "exit 1")

    assert "Maven did not fetch its jars: [ERROR] central is unknown" in reason(find(tmp_path))
    assert "central is unknown" in reason(find(tmp_path))


def test_jars_are_fetched_once_also_by_two_at_a_time(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs, "java", JAVA_17)
    maven = program(programs, "mvn", *FETCHING)
    monkeypatch.setenv("PATH", f"{programs}:{os.defpath}")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(find, [tmp_path, tmp_path])

    assert isinstance(first, Jars)
    assert first == second == find(tmp_path)
    assert first.jars.is_dir()
    assert maven.with_suffix(".log").read_text() == "fetched\n"


def test_where_no_classes_can_be_archived_it_is_run_without(tmp_path: Path) -> None:
    java = program(tmp_path, "java", 'echo "$*" >> "$0.log"', "exit 1")
    jars = Jars(program=str(java), jars=tmp_path)

    assert archived(jars, tmp_path) == jars

    assert f"-XX:ArchiveClassesAtExit={tmp_path}" in java.with_suffix(".log").read_text()


def test_docker_that_works_stands_in_for_java(programs: Path, tmp_path: Path) -> None:
    program(programs, "docker", "exit 0")

    found = find(tmp_path)

    assert not isinstance(found, Missing)
    assert found.java(tmp_path)[0] == "docker"


def test_docker_that_has_no_engine_or_image_does_not(programs: Path, tmp_path: Path) -> None:
    program(programs, "docker", "exit 1")

    assert "no Docker that has apache/kafka:" in reason(find(tmp_path))
