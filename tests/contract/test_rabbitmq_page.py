"""What the documentation shows of a broker on RabbitMQ is what is there."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from broker.channels.rabbitmq import RabbitmqBackend
from broker.event import Event
from broker.manifest import load
from broker.ports import Cursor
from tests.contract.harness import options
from tests.contract.rabbitmq import SOON
from tests.services.rabbitmq.management import Management

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = (DOCS / "rabbitmq-channel.md").read_text()
EXCHANGE: Final = "b.shop.orders"

_MANIFEST: Final = re.compile(
    r"^<!-- file: shop.yaml -->\n```yaml\n(?P<text>(?:.*\n)*?)```", re.MULTILINE
)
_ROW: Final = re.compile(r"^\| `([bt]\.[^`]+)` \| (exclusive queue|[a-z]+)", re.MULTILINE)
_BINDING: Final = re.compile(rf"^({EXCHANGE}\S*) -> (\S+) +(.+)$", re.MULTILINE)

NAMES: Final[dict[str, str]] = dict(_ROW.findall(PAGE))
"""What the page's table has, and what it calls each."""


class Queue(msgspec.Struct):
    name: str
    type: str
    exclusive: bool = False

    @property
    def kind(self) -> str:
        if self.exclusive:
            return "exclusive queue"
        return "stream" if self.type == "stream" else "queue"


class Exchange(msgspec.Struct):
    name: str


class Binding(msgspec.Struct):
    source: str
    destination: str
    routing_key: str
    arguments: dict[str, str]

    @property
    def shown(self) -> tuple[str, str, str]:
        """As the page shows it. Of a header with any value, the server says ``undefined``."""
        texts = [
            name if value == "undefined" else f"{name} = {value}"
            for name, value in sorted(self.arguments.items())
            if name != "x-match"
        ]
        shown = self.routing_key or ", ".join(texts) or "everything"
        return self.source, self.destination, shown


async def test_a_broker_with_three_triggers_has_what_the_page_shows(
    rabbitmq: str, rabbitmq_management: Management, tmp_path: Path
) -> None:
    vhost = unquote(urlsplit(rabbitmq).path[1:])
    manifest = tmp_path / "shop.yaml"
    [text] = _MANIFEST.findall(PAGE)
    manifest.write_text(text)
    triggers = load([manifest]).desired.triggers

    async with (
        RabbitmqBackend.from_url(rabbitmq, options(tmp_path)) as backend,
        asyncio.timeout(SOON),
    ):
        channel = await backend.channel("shop/orders", {}, {})
        async with AsyncExitStack() as running:
            cursors = {
                key: await running.enter_async_context(
                    channel.subscribe(key, filter=each.filter, window=10, ordered=each.ordered)
                )
                for key, each in triggers.items()
            }
            cursor = cursors["shop/audit"]
            await channel.append(
                [Event({"specversion": "1.0", "id": "1", "source": "/", "type": "a"})]
            )
            putting_off = asyncio.create_task(put_off(cursor))
            running.callback(putting_off.cancel)
            kinds: dict[str, str] = {}
            while kinds.keys() < NAMES.keys():
                queues = rabbitmq_management.get(list[Queue], "queues", vhost)
                exchanges = rabbitmq_management.get(list[Exchange], "exchanges", vhost)
                kinds = {each.name: each.kind for each in queues}
                kinds |= {each.name: "exchange" for each in exchanges if each.name[:2] == "b."}
                await asyncio.sleep(0.05)
            bindings = rabbitmq_management.get(list[Binding], "bindings", vhost)

    assert kinds == NAMES
    bound = [each.shown for each in bindings if each.source in NAMES and "#wait" not in each.source]
    assert sorted(bound) == sorted(_BINDING.findall(PAGE))


async def put_off(cursor: Cursor) -> None:
    """Put off whatever comes for a little more than the shortest step, again and again.

    On a busy machine too little of that may be left for the step by the time that it is stored.
    """
    async for claim in cursor.claims():
        cursor.defer(claim, timedelta(seconds=0.3), attempts=1, condemned=None)


def test_the_picture_has_every_name_of_the_table() -> None:
    picture = (DOCS / "images" / "rabbitmq-topology.svg").read_text()

    assert NAMES
    assert [name for name in NAMES if f">{name}<" not in picture] == []
