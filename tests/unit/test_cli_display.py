"""``cemesh display`` as a process: what it answers and prints."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker.codecs.http import encode
from tests.unit.stand_in import DEADLINE, Answer, ask, cemesh, event, line, nobody_reads, running


@asynccontextmanager
async def displaying(
    *options: str, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[tuple[Process, int]]:
    async with running("display", "--port", "0", *options, stdout=stdout) as process:
        said = await line(process.stderr)
        found = re.fullmatch(r"Listening on http://127\.0\.0\.1:(\d+)/\n", said)
        assert found, said
        yield process, int(found[1])


async def post(port: int, path: str, id: str = "1", data: bytes | None = b'{"n": 1}') -> Answer:
    headers, body = encode(event(id, data, subject="order 7", priority="high"))
    named = {name.decode(): value.decode() for name, value in headers}
    return await ask(port, "POST", path, body, named)


async def test_an_event_is_printed_with_its_attributes_and_data() -> None:
    async with displaying() as (process, port):
        answer = await post(port, "/orders")
        head, others, data = [await line(process.stdout) for _ in range(3)]

    assert answer.status == 200
    assert head.split(maxsplit=1)[1] == (
        "/orders 200  com.example.test  source=/test  subject=order 7  id=1\n"
    )
    assert others == "    priority=high\n"
    assert data == '    {"n": 1}\n'


async def test_statuses_are_answered_in_order_for_each_event_apart() -> None:
    async with displaying("--answer", "/flaky=503,429,200") as (_, port):
        statuses = [(await post(port, "/flaky", each)).status for each in "abaaba"]
        elsewhere = (await post(port, "/fine", "c")).status

    assert statuses == [503, 503, 429, 200, 429, 200]
    assert elsewhere == 200


async def test_what_is_not_an_event_is_refused_and_said() -> None:
    async with displaying() as (process, port):
        answer = await ask(port, "POST", "/orders", b"hello", {"Content-Type": "text/plain"})
        said = await line(process.stderr)

    assert answer.status == 400
    assert said == "/orders: not an event: the required attribute 'specversion' is missing\n"


async def test_a_handshake_is_consented_to_and_other_methods_are_not_allowed() -> None:
    async with displaying() as (_, port):
        handshake = await ask(port, "OPTIONS", "/")
        get = await ask(port, "GET", "/")

    assert handshake.status == 200
    assert handshake.headers["webhook-allowed-origin"] == "*"
    assert get.status == 405


async def test_json_output_is_one_document_a_line() -> None:
    async with displaying("--output", "json", "--answer", "/dead=500") as (process, port):
        await post(port, "/dead", data=b'{\n  "n": 1\n}')
        await post(port, "/fine")
        first, second = json.loads(await line(process.stdout)), await line(process.stdout)

    assert first.keys() == {"time", "path", "status", "event"}
    assert (first["path"], first["status"]) == ("/dead", 500)
    assert first["event"]["data"] == {"n": 1}
    assert json.loads(second)["status"] == 200


async def test_what_a_terminal_would_act_upon_is_printed_escaped() -> None:
    async with displaying() as (process, port):
        await post(port, "/x", data=b"\x1b[2Jgone")
        printed = [await line(process.stdout) for _ in range(3)]

    assert printed[2] == "    \\u001b[2Jgone\n"


async def test_data_that_is_not_text_is_only_measured() -> None:
    async with displaying() as (process, port):
        await post(port, "/x", data=b"\xff\xfe\xfd")
        printed = [await line(process.stdout) for _ in range(3)]

    assert printed[2] == "    (3 bytes that are not text)\n"


async def test_data_that_is_nested_without_end_is_printed_as_it_is() -> None:
    async with displaying() as (process, port):
        await post(port, "/x", data=b"[" * 5_000 + b"]" * 5_000)
        printed = [await line(process.stdout) for _ in range(3)]

    assert printed[2].startswith("    [")  # alone on its line where Python reads as deep as that


async def test_long_data_is_truncated() -> None:
    data = json.dumps(list(range(10_000))).encode()
    async with displaying() as (process, port):
        await post(port, "/x", data=data)
        printed = [await line(process.stdout) for _ in range(23)]

    assert printed[-1] == f"    … ({len(data):,} bytes in all)\n"


async def test_an_answer_can_be_delayed() -> None:
    async with displaying("--delay", "/slow=0.01") as (_, port):
        assert (await post(port, "/slow")).status == 200


async def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = await cemesh("display", "--port", str(port))

    assert ran.code == 3
    assert ran.err.startswith(f"Error: cannot listen on 127.0.0.1:{port}: Address already in use")


@pytest.mark.parametrize(
    "option",
    [
        ["--answer", "flaky=503"],
        ["--answer", "/flaky=600"],
        ["--answer", "/flaky="],
        ["--answer", "/flaky"],
        ["--delay", "/slow=long"],
        ["--delay", "/slow=nan"],
        ["--delay", "/slow=-1"],
    ],
)
async def test_a_script_that_makes_no_sense_is_wrong_usage(option: list[str]) -> None:
    ran = await cemesh("display", "--port", "0", *option)

    assert ran.code == 2
    assert option[0] in ran.err


async def test_ctrl_c_ends_it_quietly() -> None:
    async with displaying("--delay", "/slow=60") as (process, _):
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()

    assert process.returncode == 130
    assert (out, err) == (b"", b"")


async def test_it_ends_when_nobody_reads_what_it_prints() -> None:
    async with displaying(stdout=nobody_reads()) as (process, port):
        await post(port, "/x")
        _, err = await asyncio.wait_for(process.communicate(), DEADLINE)

    assert b"Traceback" not in err
    assert b"Error" not in err
