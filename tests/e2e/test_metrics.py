"""What a scrape of a mesh tells, against what was done to it, and what its books say."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import pytest

from broker.admin.models import StatusDocument
from broker.event import Event
from broker.observe import families
from broker.observe.families import FAMILIES
from broker.observe.family import LABELS
from broker.ports import OriginKind
from broker.settings import Part
from tests.e2e.deadletters import dead_letters
from tests.e2e.feeds import CALLED, FEED, feed
from tests.e2e.manifests import DELIVERY_POLICY, broker, event, manifest, steady, trigger
from tests.e2e.scrapes import Scrape, samples, scraped
from tests.services.mesh import HOST, RunningMesh
from tests.services.mesh import trigger as told_of
from tests.services.subscribers import Answer, Request, Subscriber, after, reply
from tests.services.tlsmesh import TlsMesh

BROKER = "default/default"
SOON = 60.0

pytestmark = pytest.mark.timeout(240)

ENDS = {"replying": (2, 0), "flaky": (2, 0), "refusing": (0, 2), "broken": (2, 2)}
"""What becomes of the events of triggers that come to an end: how many delivered and dead."""

ORIGINS = get_args(OriginKind)
HISTOGRAM = re.compile("_(bucket|count|sum)$")


def replying(request: Request) -> Answer:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": f"reply-{request.header('ce-id')}",
        "ce-source": "/replier",
        "ce-type": "answer",
    }
    return reply(200, headers, b"")


def policy(name: str, spec: Mapping[str, object]) -> str:
    return json.dumps(
        {
            "apiVersion": "cemesh.dev/v1alpha1",
            "kind": "DeliveryPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
    )


def with_annotation(document: str, name: str, value: str) -> str:
    changed = json.loads(document)
    changed["metadata"]["annotations"][name] = value
    return json.dumps(changed)


def everything(subscriber: Subscriber, gate: asyncio.Event) -> str:
    """Return manifests of which each trigger comes to another end, named after its type."""

    def to(name: str, *, answers: Sequence[Answer] | None = None, **options: object) -> str:
        url = subscriber.url(f"/{name}")
        if answers is not None:
            subscriber.answers(f"/{name}", answers)
        return trigger(name, url, type=name, **options)  # type: ignore[arg-type] # as told

    letters = subscriber.url("/letters")
    subscriber.answers("/replying", replying)
    parking = to("parking", answers=[400], retry=0, ordered=True, pauses=False)
    return manifest(
        with_annotation(broker(), "cemesh.dev/announcements", "true"),
        steady(),
        policy("park", {"order": {"whenGivenUp": "park"}, "breaker": {"enabled": False}}),
        policy("asking", {"consent": {"origin": "mesh.example"}}),
        feed(),
        to("replying"),
        to("flaky", answers=[503, 200], pauses=False),
        to("refusing", answers=[400], dead_letter=letters, pauses=False),
        to("broken", answers=[500], retry=1, pauses=False),
        to("hanging", answers=[after(gate, 200)]),
        with_annotation(parking, DELIVERY_POLICY, "park"),
        with_annotation(to("asked", answers=[405]), DELIVERY_POLICY, "asking"),
    )


async def test_every_series_tells_of_what_happened_and_agrees_with_the_books(
    tmp_path: Path, promtool: Path
) -> None:
    (tmp_path / "feed.py").write_text(FEED)
    gate = asyncio.Event()
    async with Subscriber() as subscriber:
        mesh = TlsMesh(
            tmp_path / "mesh",
            everything(subscriber, gate),
            secured=["admin"],
            cwd=tmp_path,
            arguments=("--workers", "2"),
        )
        async with mesh:
            types = ("replying", "flaky", "refusing", "broken", "hanging", "asked")
            for number in range(2):
                for each in types:
                    assert await mesh.send(BROKER, event(f"{each}-{number}", type=each)) == 202
            keyed = Event(
                {**event("parked", type="parking").attributes, "partitionkey": "k"}, b"{}"
            )
            assert await mesh.send(BROKER, keyed) == 202
            assert (await mesh.request("POST", f"/{BROKER}", body=b"?")).status == 400
            assert (await mesh.request("POST", "/default/nobody")).status == 404
            assert b" 400 " in await raw(mesh, b"what is this\r\n\r\n")
            await dead_letters(mesh, BROKER, 3)  # what the source rejected among them
            subscriber.answers("/broken", [200])
            asked = json.dumps({"all": True}).encode()
            path = f"/api/v1/brokers/{BROKER}/deadletters/redrive"
            answer = await mesh.request("POST", path, body=asked, port=mesh.admin_port)
            assert answer.status == 200, answer
            mesh.manifest.write_text("kind: Nothing")
            await mesh.until(at_rest)

            scrape = await scraped(mesh)
            status = await mesh.status()
            gate.set()

    check_books(scrape, status)
    check_labels(scrape)
    check_by(promtool, scrape)
    told = {family.name: samples(family, scrape).values() for family in FAMILIES.values()}
    assert set(told.pop(families.UNACCOUNTED.name)) == {0}
    assert not told.pop(families.FOLLOWED.name)  # there is no cluster
    assert [name for name, values in told.items() if not any(each > 0 for each in values)] == []


async def test_each_part_tells_what_is_said_of_it(tmp_path: Path, rabbitmq: str) -> None:
    (tmp_path / "feed.py").write_text(FEED)
    (tmp_path / "called.py").write_text(CALLED)
    gate = asyncio.Event()
    async with Subscriber() as subscriber:
        text = manifest(everything(subscriber, gate), feed("called"))

        def part(of: Part) -> RunningMesh:
            channel = {"CEMESH_CHANNEL": rabbitmq}
            folder = tmp_path / of.value
            return TlsMesh(
                folder,
                text,
                secured=["admin"],
                part=of.value,
                environment=channel,
                cwd=tmp_path,
            )

        meshes = {each: part(each) for each in Part}
        ingress, dispatcher = meshes[Part.INGRESS], meshes[Part.DISPATCHER]
        async with dispatcher, ingress, meshes[Part.SOURCES] as sources:
            for each in ("replying", "refusing", "broken"):
                assert await ingress.send(BROKER, event(each, type=each)) == 202
            assert (await ingress.request("POST", f"/{BROKER}", body=b"?")).status == 400
            await dispatcher.until(
                lambda status: all(
                    (told := told_of(status, f"default/{each}")).delivered + told.dead_lettered
                    for each in ("replying", "refusing", "broken")
                )
            )
            await sources.until(lambda status: status.sources[0].lag is not None)
            scrapes = {each: await scraped(mesh) for each, mesh in meshes.items()}
            gate.set()

    told = {
        name: {part for part, scrape in scrapes.items() if samples(family, scrape)}
        for name, family in FAMILIES.items()
    }
    lags = {families.LAG.name, families.LAG_AGE.name}  # which a source that is called has not
    declared = {
        name: family.parts - {Part.INGRESS} if name in lags else family.parts
        for name, family in FAMILIES.items()
    }
    assert told == declared | {families.FOLLOWED.name: set()}  # there is no cluster


def at_rest(status: StatusDocument) -> bool:
    """Return whether all is over but what hangs, is parked, and gets no consent."""
    [source] = status.sources
    told = {name: told_of(status, f"default/{name}") for name in ENDS}
    ended = {name: (each.delivered, each.dead_lettered) for name, each in told.items()}
    return (
        ended == ENDS
        and told_of(status, "default/parking").parked == 1
        and told_of(status, "default/hanging").in_flight == 2
        and (source.restarts, source.lag) == (1, 7)
        and bool(status.problems)
    )


def check_books(scrape: Scrape, status: StatusDocument) -> None:
    [kept] = status.brokers
    assert scrape.sum("cemesh_accepted_events_total", broker=BROKER) == kept.accepted
    stored = {each: scrape.sum("cemesh_stored_events_total", origin=each) for each in ORIGINS}
    assert stored == {"request": 13, "source": 2, "reply": 2, "redrive": 2, "announcement": 1}
    assert kept.accepted == sum(stored.values())
    assert scrape.sum("cemesh_ingress_duration_seconds_count", broker=BROKER) == 13
    for each in kept.triggers:
        told = {
            "matched_events_total": each.matched,
            "delivered_events_total": each.delivered,
            "dead_lettered_events_total": each.dead_lettered,
            "waiting_events": each.waiting,
            "end_to_end_duration_seconds_count": each.delivered,
            "given_up_events_total": each.dead_lettered,
        }
        found = {name: scrape.sum(f"cemesh_{name}", trigger=each.name) for name in told}
        assert found == told, each.name
    firsts = "cemesh_channel_duration_seconds_count"
    assert scrape.sum(firsts, trigger="default/broken") == 4, "redriven, it is attempted anew"
    assert scrape.sum(firsts, trigger="default/flaky") == 2
    assert scrape.sum("cemesh_reply_events_total", trigger="default/replying") == 2


def check_labels(scrape: Scrape) -> None:
    """Check that the series are those that are declared, and no label has a value beyond."""
    for name, labels in scrape.values:
        family = FAMILIES.get(HISTOGRAM.sub("", name))
        if family is None:
            assert name.startswith(("process_", "python_")), name
            continue
        of = {label: value for label, value in labels if label != "le"}
        assert of.keys() == set(family.labels), name
        for label, value in of.items():
            known = LABELS[label].values
            assert known is None or value in known, (name, label, value)


def check_by(promtool: Path, scrape: Scrape) -> None:
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=scrape.text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def raw(mesh: RunningMesh, request: bytes) -> bytes:
    """Return what the data port answers to these bytes."""
    reader, writer = await asyncio.open_connection(HOST, mesh.port)
    try:
        writer.write(request)
        async with asyncio.timeout(SOON):
            return await reader.read()
    finally:
        writer.close()
