"""``cemesh plan`` as a process, against a real admin port."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from broker.cli.planning import Subscribed, pairs
from broker.filters import EVERYTHING, Exact, Filter, Legacy
from broker.manifest import load
from broker.trigger import Target, Trigger
from tests.unit.stand_in import BROKER, Ran, StandIn, admin_port, cemesh, event, served

PLACED, RETURNED = "com.example.order.placed", "com.example.order.returned"
ORDERS = [{"prefix": {"type": "com.example.order."}}]
IS_PLACED = [{"exact": {"type": PLACED}}]


def broker(name: str) -> dict[str, object]:
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": name},
    }


def trigger(
    name: str, filters: Sequence[Mapping[str, object]] = (), on: str = "default"
) -> dict[str, object]:
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name},
        "spec": {
            "broker": on,
            "filters": filters,
            "subscriber": {"uri": f"http://127.0.0.1:9/{name}"},
        },
    }


def new(folder: Path, *documents: Mapping[str, object]) -> str:
    """Write the manifests that are proposed, beside the broker that runs; return their path."""
    file = folder / "new.yaml"
    file.write_text("\n---\n".join(map(json.dumps, (broker("default"), *documents))))
    return str(file)


def running(folder: Path, *documents: Mapping[str, object]) -> Sequence[Trigger]:
    """Return the triggers of these manifests, as if they ran."""
    (folder / "now").mkdir()
    return list(load([Path(new(folder / "now", *documents))]).desired.triggers.values())


async def mesh_with(*triggers: Trigger) -> StandIn:
    mesh = await StandIn.start()
    mesh.running = triggers
    return mesh


async def planned(mesh: StandIn, *arguments: str) -> Ran:
    async with admin_port(mesh) as port:
        return await cemesh("plan", *arguments, "--admin-port", str(port))


async def document(mesh: StandIn, *arguments: str) -> dict[str, Any]:
    ran = await planned(mesh, *arguments, "--output", "json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def ids(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    return [example["event"]["id"] for example in examples]


# --- numbers -------------------------------------------------------------------------------


async def test_a_plan_tells_how_many_events_more_and_fewer_with_examples(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("billing", IS_PLACED), trigger("audit")))
    await mesh.mesh_channel.append(
        [
            *(event(f"placed {n}", type=PLACED, source="/shop") for n in range(3)),
            *(event(f"returned {n}", type=RETURNED, source="/shop") for n in range(4)),
            event("elsewhere", type=PLACED, source="/depot"),
        ]
    )
    proposed = new(
        tmp_path,
        trigger("audit"),
        trigger("billing", [*ORDERS, {"cesql": "source = '/shop'"}]),
    )

    ran = await planned(mesh, proposed)

    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert lines[0].startswith("default/default  8 events since ")
    assert lines[1].split() == ["TRIGGER", "NOW", "PROPOSED", "MORE", "FEWER", "CHANGE"]
    assert lines[2].split() == ["default/billing", "4", "7", "4", "1", "filter"]
    assert lines[3] == "  1 other trigger as before"
    assert lines[5] == "  default/billing: 4 events more, such as"
    assert [line.split("  ")[-1] for line in lines[6:9]] == [f"id=returned {n}" for n in range(3)]
    assert lines[10] == "  default/billing: 1 event fewer"
    assert lines[11].split("  ")[3:] == [PLACED, "source=/depot", "id=elsewhere"]
    assert lines[12] == "      filters[1].cesql source = '/shop': source is \"/depot\""
    assert lines[-1] == "1 of 2 triggers changes: 4 deliveries more, 1 fewer"


async def test_a_plan_for_scripts_has_everything(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("billing", IS_PLACED), trigger("audit")))
    began = datetime.now(UTC)
    await mesh.mesh_channel.append([event("1", type=PLACED, n="5"), event("2", type=RETURNED)])

    found = await document(
        mesh, new(tmp_path, trigger("audit"), trigger("billing", [{"exact": {"n": "7"}}]))
    )

    since, until = (datetime.fromisoformat(found[name]) for name in ("since", "until"))
    assert until - since == timedelta(hours=24)
    [plan] = found["brokers"]
    assert {name: plan[name] for name in ("name", "runs", "proposed", "complete")} == {
        "name": "default/default",
        "runs": True,
        "proposed": True,
        "complete": True,
    }
    assert (plan["since"], plan["events"], plan["redrives"]) == (found["since"], 2, 0)
    billing, audit = plan["triggers"]
    assert audit == {
        "name": "default/audit",
        "change": "none",
        "elsewhere": None,
        "now": 2,
        "proposed": 2,
        "more": 0,
        "fewer": 0,
        "gained": [],
        "lost": [],
    }
    assert billing["name"] == "default/billing"
    assert [billing[name] for name in ("now", "proposed", "more", "fewer")] == [1, 0, 0, 1]
    [lost] = billing["lost"]
    assert began <= datetime.fromisoformat(lost["at"]) <= until
    assert lost["event"] == dict(event("1", type=PLACED, n="5").attributes)
    assert lost["clauses"] == [
        {
            "path": "filters[0].exact",
            "attribute": "n",
            "expected": "7",
            "actual": "5",
            "text": 'filters[0].exact n: "7" ≠ "5"',
        }
    ]


async def test_where_nothing_changes_a_plan_says_so(tmp_path: Path) -> None:
    same = [trigger("billing", IS_PLACED), trigger("audit")]
    mesh = await mesh_with(*running(tmp_path, *same))
    await mesh.mesh_channel.append([event("1", type=PLACED)])

    ran = await planned(mesh, new(tmp_path, *reversed(same)))
    told = await planned(mesh, new(tmp_path, *same), "--all")

    assert ran.out.splitlines()[1:] == ["  2 triggers as before", "", "Nothing changes."]
    assert [line.split() for line in told.out.splitlines()[2:4]] == [
        ["default/billing", "1", "1", "0", "0"],
        ["default/audit", "1", "1", "0", "0"],
    ]


async def test_all_pages_of_the_history_are_compared(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("audit", IS_PLACED)))
    await mesh.mesh_channel.append([event(str(n), None, type=RETURNED) for n in range(1_500)])

    found = await document(mesh, new(tmp_path, trigger("audit", ORDERS)))

    [plan] = found["brokers"]
    assert plan["events"] == plan["triggers"][0]["more"] == 1_500


async def test_the_older_form_of_a_filter_is_compared_as_well(tmp_path: Path) -> None:
    legacy = Trigger(
        key="default/audit",
        broker=BROKER,
        subscriber=Target(url="http://127.0.0.1:9/"),
        filter=Legacy((("subject", ""),)),
    )
    mesh = await mesh_with(legacy)
    await mesh.mesh_channel.append([event("1", subject="x"), event("2")])

    found = await document(mesh, new(tmp_path, trigger("audit")))

    [audit] = found["brokers"][0]["triggers"]
    assert (audit["now"], audit["proposed"], ids(audit["gained"])) == (1, 2, ["2"])


async def test_the_number_of_examples_can_be_chosen(tmp_path: Path) -> None:
    mesh = await mesh_with()
    await mesh.mesh_channel.append(
        [*(event(str(n)) for n in range(5)), event("other", type=PLACED)]
    )
    proposed = new(tmp_path, trigger("audit"))

    none = await document(mesh, proposed, "--examples", "0")
    two = await document(mesh, proposed, "--examples", "2")

    assert ids(none["brokers"][0]["triggers"][0]["gained"]) == []
    assert ids(two["brokers"][0]["triggers"][0]["gained"]) == ["0", "other"]


async def test_the_examples_are_the_oldest_events_but_of_as_many_types_as_there_are(
    tmp_path: Path,
) -> None:
    mesh = await mesh_with()
    types = ["a", "a", "a", "b", "b", "c", "d"]
    await mesh.mesh_channel.append([event(f"{n}{of}", type=of) for n, of in enumerate(types)])
    proposed = new(tmp_path, trigger("audit"))

    def shown(found: dict[str, Any]) -> list[str]:
        return ids(found["brokers"][0]["triggers"][0]["gained"])

    assert shown(await document(mesh, proposed, "--examples", "3")) == ["0a", "3b", "5c"]
    assert shown(await document(mesh, proposed, "--examples", "5")) == [
        "0a",
        "1a",
        "3b",
        "5c",
        "6d",
    ]


async def test_what_comes_from_events_cannot_act_upon_the_terminal(tmp_path: Path) -> None:
    mesh = await mesh_with()
    await mesh.mesh_channel.append([event("1\u202e", type="a\u202eb")])

    ran = await planned(mesh, new(tmp_path, trigger("audit")))

    assert "a\\u202eb" in ran.out
    assert "\u202e" not in ran.out


# --- triggers and brokers that come and go -------------------------------------------------


async def test_new_and_removed_triggers_are_counted_whole(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("gone")))
    await mesh.mesh_channel.append([event("1", type=PLACED), event("2")])

    ran = await planned(mesh, new(tmp_path, trigger("fresh", IS_PLACED)))

    rows = [line.split() for line in ran.out.splitlines()[2:4]]
    assert rows == [
        ["default/gone", "2", "0", "0", "2", "removed"],
        ["default/fresh", "0", "1", "1", "0", "new"],
    ]
    assert ran.out.splitlines()[-1] == "2 of 2 triggers change: 1 delivery more, 2 fewer"


async def test_a_trigger_that_moves_is_told_on_both_brokers(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("audit")))
    await mesh.mesh_channel.append([event("1")])

    ran = await planned(mesh, new(tmp_path, broker("other"), trigger("audit", on="other")))

    lines = ran.out.splitlines()
    row = ["default/audit", "1", "0", "0", "1", "moves", "to", "default/other"]
    assert lines[2].split() == row
    assert "default/other  does not run yet: there are no events to compare with" in lines
    assert "  default/audit  moves from default/default" in lines
    assert lines[-1] == "1 of 1 trigger changes: 0 deliveries more, 1 fewer"


def test_a_trigger_that_moves_between_brokers_leaves_one_and_arrives_at_the_other() -> None:
    def on(broker: str, filter: Filter = EVERYTHING) -> dict[str, Subscribed]:
        return {"a": Subscribed(broker=broker, filter=filter)}

    exact = Exact((("type", "x"),))
    [leaving] = pairs("one", on("one"), on("two", exact))
    [arriving] = pairs("two", on("one"), on("two", exact))

    assert (leaving.change, leaving.elsewhere) == ("leaves", "two")
    assert (leaving.now, leaving.proposed) == (EVERYTHING, None)
    assert (arriving.change, arriving.elsewhere) == ("arrives", "one")
    assert (arriving.now, arriving.proposed) == (None, exact)
    assert pairs("three", on("one"), on("two")) == []


async def test_a_broker_that_is_not_in_the_manifests_would_stop(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("audit")))
    await mesh.mesh_channel.append([event("1")])
    file = tmp_path / "other.yaml"
    file.write_text(json.dumps(broker("other")))

    ran = await planned(mesh, str(file))

    lines = ran.out.splitlines()
    assert lines[0].endswith("is not in the proposed manifests: it would stop")
    assert lines[2].split() == ["default/audit", "1", "0", "0", "1", "removed"]
    assert "  no triggers" in lines


async def test_a_plan_can_be_of_one_broker(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("audit")))
    proposed = new(tmp_path, broker("other"), trigger("audit", on="other"))

    ran = await planned(mesh, proposed, "--broker", "default/other")
    refused = await planned(mesh, proposed, "--broker", "default/othre")

    assert ran.out.splitlines() == [
        "default/other  does not run yet: there are no events to compare with",
        "  TRIGGER        CHANGE",
        "  default/audit  moves from default/default",
        "",
        "1 of 1 trigger changes: 0 deliveries more, 0 fewer",
    ]
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        "Error: neither the mesh nor NEW has a broker default/othre "
        "(did you mean 'default/other'?)\n"
    )


# --- which events --------------------------------------------------------------------------


async def test_redrives_pass_no_filter_and_are_left_out(tmp_path: Path) -> None:
    mesh = await mesh_with(*running(tmp_path, trigger("audit")))
    await mesh.mesh_channel.append([event("1")])
    await mesh.mesh_channel.append([event("2")], to="default/audit")

    ran = await planned(mesh, new(tmp_path))

    assert "default/default  1 event since " in ran.out
    assert ran.out.splitlines()[0].endswith("  1 redrive left out")
    assert "that is kept" not in ran.out
    assert ran.out.splitlines()[2].split() == ["default/audit", "1", "0", "0", "1", "removed"]


async def test_a_plan_looks_back_as_far_as_it_is_told(tmp_path: Path) -> None:
    mesh = await mesh_with()
    for age in (50, 30, 10):
        store(mesh, f"{age} h", datetime.now(UTC) - timedelta(hours=age))
    proposed = new(tmp_path, trigger("audit"))

    day = await document(mesh, proposed)
    two_days = await document(mesh, proposed, "--since", "2d")
    ages = await document(mesh, proposed, "--since", "99999999d")

    assert [each["brokers"][0]["events"] for each in (day, two_days, ages)] == [1, 2, 3]
    assert all(each["brokers"][0]["complete"] for each in (day, two_days, ages))


async def test_where_older_events_are_kept_no_more_a_plan_says_from_when_it_is_complete(
    tmp_path: Path,
) -> None:
    mesh = await mesh_with()
    await mesh.mesh_channel.append([event(str(n), b"x" * 9_500) for n in range(150)])
    kept = await mesh.mesh_channel.history()
    proposed = new(tmp_path, trigger("audit"))

    ran = await planned(mesh, proposed)
    found = await document(mesh, proposed)

    assert 50 < len(kept) < 150
    assert ran.out.splitlines()[0].endswith(", the oldest that is kept")
    [plan] = found["brokers"]
    assert (plan["complete"], plan["events"]) == (False, len(kept))
    assert datetime.fromisoformat(plan["since"]) == kept[0].at


async def test_where_nothing_is_kept_any_more_a_plan_says_so(tmp_path: Path) -> None:
    mesh = await mesh_with()
    await mesh.mesh_channel.append([event("1", b"x" * (1 << 20))])

    ran = await planned(mesh, new(tmp_path, trigger("audit")))
    found = await document(mesh, new(tmp_path, trigger("audit")))

    assert ran.out.splitlines()[0] == "default/default  no events: none is kept any more"
    [plan] = found["brokers"]
    assert (plan["complete"], plan["events"], plan["since"]) == (False, 0, None)


async def test_events_that_keep_coming_do_not_keep_a_plan_from_ending(tmp_path: Path) -> None:
    mesh = await mesh_with()
    store(mesh, "now", datetime.now(UTC))
    for number in range(2_050):
        store(mesh, str(number), datetime.now(UTC) + timedelta(hours=1))

    found = await document(mesh, new(tmp_path, trigger("audit")))

    assert found["brokers"][0]["events"] == 2_000  # up to the first page that came afterwards


def store(mesh: StandIn, id: str, at: datetime) -> None:
    mesh.mesh_channel._log.append(event(id, None), at, None)


# --- refusals ------------------------------------------------------------------------------


async def test_a_bad_manifest_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    proposed = new(
        tmp_path, trigger("a", [{"cesql": "type ="}]), trigger("b", [{"sufix": {"type": "x"}}])
    )

    ran = await planned(await mesh_with(), proposed)

    assert (ran.code, ran.out) == (1, "")
    assert "Trigger default/a: spec.filters[0].cesql" in ran.err
    assert "Trigger default/b: spec.filters[0].sufix" in ran.err
    assert len(ran.err.splitlines()) == 2


async def test_what_is_doubtful_in_the_manifests_is_told_beside_the_plan(tmp_path: Path) -> None:
    proposed = new(tmp_path, trigger("a", [{"exact": {"type": "x"}}, {"exact": {"type": "y"}}]))

    ran = await planned(await mesh_with(), proposed, "--output", "json")

    assert ran.code == 0
    assert "no event can ever pass" in ran.err
    assert json.loads(ran.out)["brokers"]


async def test_refs_are_resolved_as_in_run(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    ref = {"apiVersion": "v1", "kind": "Service", "name": "audit"}
    document = trigger("audit")
    document["spec"] = {"broker": "default", "subscriber": {"ref": ref}}
    file.write_text("\n---\n".join(map(json.dumps, (broker("default"), document))))

    ran = await planned(
        await mesh_with(), str(file), "--resolve", "Service/default/audit=http://127.0.0.1:9/"
    )

    assert ran.code == 0
    assert "default/audit" in ran.out


async def test_where_no_mesh_answers_there_is_no_plan(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        ran = await cemesh("plan", new(tmp_path), "--admin-port", str(port))

    assert (ran.code, ran.out) == (3, "")
    assert "no mesh answers" in ran.err


async def test_a_filter_that_is_not_known_here_is_refused_rather_than_passed_over(
    tmp_path: Path,
) -> None:
    async def status(_: Request) -> JSONResponse:
        here = {"name": BROKER, "channel": "x", "accepted": 0, "unavailable": None, "triggers": []}
        return JSONResponse({"brokers": [here], "sources": [], "problems": []})

    async def triggers(_: Request) -> JSONResponse:
        later = {"name": "default/a", "subscriber": "http://a/", "filters": [{"jsonata": "x"}]}
        return JSONResponse({"triggers": [later]})

    app = Starlette(
        routes=[
            Route("/api/v1/status", status),
            Route(f"/api/v1/brokers/{BROKER}/triggers", triggers),
        ]
    )
    async with served(app) as (port, _):
        ran = await cemesh("plan", new(tmp_path), "--admin-port", str(port))

    assert (ran.code, ran.out) == (1, "")
    assert "the filter of default/a is not one that this version of cemesh reads" in ran.err
    assert "jsonata" in ran.err


@pytest.mark.parametrize("wrong", [["--since", "yesterday"], ["--examples", "-1"], []])
async def test_wrong_usage_is_told(wrong: list[str], tmp_path: Path) -> None:
    ran = await cemesh("plan", *([new(tmp_path), *wrong] if wrong else []))

    assert (ran.code, ran.out) == (2, "")
