"""A subscriber that hangs, or is not there, is felt by nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.manifests import broker, event, manifest, steady, trigger
from tests.services.mesh import HOST, RunningMesh, free_port
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Subscriber, hang

BROKER = "default/default"
EVENTS = 1_000


@pytest.mark.timeout(120)
async def test_a_good_subscriber_gets_everything_before_a_hanging_one_has_answered_once(
    running_mesh: Callable[..., RunningMesh],
) -> None:
    events = [event(f"event-{number}") for number in range(EVENTS)]
    async with Subscriber() as subscriber:
        hanging = subscriber.answers("/hanging", [hang()])
        dead = f"http://{HOST}:{free_port()}/"
        text = manifest(
            broker(),
            steady(),
            trigger("hanging", hanging, timeout="PT10M"),
            trigger("dead", dead, retry=1000, backoff="PT0.02S", pauses=False),
            trigger("good", subscriber.url("/good")),
        )
        async with running_mesh(text, arguments=("--drain-timeout", "100ms")) as mesh:
            assert set(await mesh.send_all(BROKER, events)) == {202}
            status = await mesh.until(
                lambda status: told_of(status, "default/good").delivered == EVENTS
            )

            good = [each.header("ce-id") for each in subscriber.received if each.path == "/good"]
            assert sorted(good, key=str) == sorted(each.id for each in events)
            hangs = told_of(status, "default/hanging")
            assert (hangs.delivered, hangs.waiting, hangs.in_flight) == (0, EVENTS, 100)
            gone = told_of(status, "default/dead")
            assert (gone.delivered, gone.waiting) == (0, EVENTS)
            assert hangs.unaccounted == gone.unaccounted == 0
