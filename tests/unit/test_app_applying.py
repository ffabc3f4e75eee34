"""A mesh whose objects are of many: what cannot run keeps nothing else from running."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from broker.app.applying import Applying
from broker.errors import ChannelUnavailable
from broker.mesh import Mesh
from broker.trigger import Broker, Desired, Target, Trigger
from tests.unit.meshes import HeldChannel, Store, install, make_mesh, make_trigger


class OneAway(Store):
    """A store that cannot be opened with a configuration that says so."""

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> HeldChannel:
        if config.get("away"):
            raise ChannelUnavailable("the store is away")
        return await super().channel(broker, config, secret)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> OneAway:
    store = OneAway()
    install(monkeypatch, store=store)
    return store


AWAY = {"away": "yes"}


def desired(*brokers: Broker, triggers: tuple[Trigger, ...] = ()) -> Desired:
    return Desired(
        brokers={each.key: each for each in brokers},
        triggers={each.key: each for each in triggers},
    )


def runs(mesh: Mesh) -> set[str]:
    return (
        {each.key for each in mesh.triggers("default/good")} if mesh.find("default/good") else set()
    )


GOOD, BAD = Broker(key="default/good"), Broker(key="default/bad")
OF_GOOD = make_trigger("good", "http://127.0.0.1:9/", broker=GOOD.key)
OF_BAD = make_trigger("bad", "http://127.0.0.1:9/", broker=BAD.key)


async def test_a_broker_whose_store_is_away_keeps_no_other_from_running(store: OneAway) -> None:
    wanted = desired(GOOD, Broker(key=BAD.key, config=AWAY), triggers=(OF_GOOD, OF_BAD))
    async with make_mesh() as mesh:
        applying = Applying(mesh, each=True)
        (problem,) = await applying.apply(wanted)

        assert str(problem) == "Broker default/bad: the store is away"
        assert mesh.find(GOOD.key) is not None
        assert mesh.find(BAD.key) is None
        assert runs(mesh) == {"default/good"}

        assert await applying.apply(desired(GOOD, BAD, triggers=(OF_GOOD, OF_BAD))) == []
        assert mesh.find(BAD.key) is not None


async def test_a_broker_that_ran_goes_on_as_it_was_with_its_triggers(store: OneAway) -> None:
    async with make_mesh() as mesh:
        applying = Applying(mesh, each=True)
        assert await applying.apply(desired(GOOD, BAD, triggers=(OF_BAD,))) == []
        changed = desired(GOOD, Broker(key=BAD.key, config=AWAY), triggers=(OF_BAD, OF_GOOD))
        (problem,) = await applying.apply(changed)

        assert problem.subject == "Broker default/bad"
        assert [each.key for each in mesh.triggers(BAD.key)] == ["default/bad"]
        assert runs(mesh) == {"default/good"}
        assert store.channels[BAD.key].gone == []


async def test_a_trigger_without_a_sink_is_held_and_keeps_its_place(store: OneAway) -> None:
    nowhere = Trigger(key=OF_BAD.key, broker=GOOD.key, subscriber=Target(url="nowhere:there"))
    async with make_mesh() as mesh:
        applying = Applying(mesh, each=True)
        was = make_trigger("bad", "http://127.0.0.1:9/", broker=GOOD.key)
        assert await applying.apply(desired(GOOD, triggers=(was,))) == []
    async with make_mesh() as mesh:  # which knows nothing of what it was before
        (problem,) = await Applying(mesh, each=True).apply(desired(GOOD, triggers=(nowhere,)))

        assert problem.subject == "Trigger default/bad"
        assert runs(mesh) == set()
        assert store.channels[GOOD.key].gone == []
        assert await store.channels[GOOD.key].triggers() == ["default/bad"]


async def test_what_is_of_one_is_taken_whole_or_not_at_all(store: OneAway) -> None:
    async with make_mesh() as mesh:
        with pytest.raises(ChannelUnavailable, match="the store is away"):
            await Applying(mesh).apply(desired(GOOD, Broker(key=BAD.key, config=AWAY)))

        assert mesh.find(GOOD.key) is None
