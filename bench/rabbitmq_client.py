"""aio-pika and our channel, publishing, once: `python -m bench.rabbitmq_client URL` prints JSON.

For each, the µs that an event takes, of time and of this process's processor.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import uvloop

from bench.rabbitmq import Clock, in_turn
from bench.rabbitmq_publish import publishing

EVENTS = 5_000
WAITING = 64


async def measure(url: str) -> Mapping[str, tuple[float, float]]:
    """Return what each takes, with 64 calls of one event waiting at any time."""
    found = {}
    async with publishing(url) as (ways, queue):
        for name, publish in ways.items():
            await in_turn(500, WAITING, publish)
            clock = Clock()
            await in_turn(EVENTS, WAITING, publish)
            time, busy = clock.taken()
            found[name] = (time / EVENTS * 1e6, busy / EVENTS * 1e6)
            await queue.purge()
    return found


if __name__ == "__main__":
    json.dump(uvloop.run(measure(sys.argv[1])), sys.stdout)
