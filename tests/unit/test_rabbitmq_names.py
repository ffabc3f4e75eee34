"""What exchanges and queues are called."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from broker.channels.rabbitmq.names import broker_name, source_name, trigger_name

BROKER = "shop/orders"

# What pamqp does not refuse, of at most as many bytes as AMQP 0-9-1 has for it.
_LETS_PASS = re.compile(r"[a-zA-Z0-9\-_.:@#,/+ ]{1,255}")


def test_names_tell_what_they_are_of() -> None:
    assert broker_name(BROKER) == "b.shop.orders"
    assert broker_name(BROKER, "dead") == "b.shop.orders#dead"
    assert trigger_name(BROKER, "shop/audit") == "t.shop.orders:audit"
    assert trigger_name(BROKER, "shop/audit", "parked") == "t.shop.orders:audit#parked"
    assert trigger_name(BROKER, "office/audit") == "t.shop.orders:office:audit"
    assert source_name(BROKER, "alone", "Ping shop/a") == "b.shop.orders#alone:Ping:shop:a"
    assert source_name(BROKER, "alone", "a") == "b.shop.orders#alone:a"


def test_dots_in_names_stay_as_they_are() -> None:
    assert broker_name("shop/orders.eu") == "b.shop.orders.eu"
    assert trigger_name("shop/orders.eu", "shop/audit.eu") == "t.shop.orders.eu:audit.eu"


def test_what_is_no_name_in_kubernetes_is_encoded() -> None:
    assert broker_name("a.b/c:d#e") == "b.a+2Eb.c+3Ad+23e"
    assert trigger_name(BROKER, "é") == "t.shop.orders::+C3+A9"


def test_a_name_that_is_too_long_is_cut_and_keeps_a_digest() -> None:
    longest = "x" * (255 - len("t.shop.orders:"))

    fitting = trigger_name(BROKER, f"shop/{longest}")
    cut = trigger_name(BROKER, f"shop/{longest}x")

    assert fitting == f"t.shop.orders:{longest}"
    assert len(cut) == 255
    assert _LETS_PASS.fullmatch(cut)
    assert cut.startswith("t.shop.orders:xxx")
    assert cut != trigger_name(BROKER, f"shop/{longest}y")
    assert cut == trigger_name(BROKER, f"shop/{longest}x")
    assert len({cut, *(trigger_name(BROKER, f"shop/{longest}x", part) for part in "ab")}) == 3


special = st.text("ab.:#/~%+é\ud800", max_size=4)
namespaces = special.map(lambda text: text.replace("/", ""))
keys = namespaces.filter(bool) | st.builds("{}/{}".format, namespaces.filter(bool), special)
parts = st.none() | special.filter(bool)


@given(st.tuples(keys, st.none() | keys, parts), st.tuples(keys, st.none() | keys, parts))
def test_no_two_names_are_the_same(
    one: tuple[str, str | None, str | None], other: tuple[str, str | None, str | None]
) -> None:
    names = [
        broker_name(broker, part) if trigger is None else trigger_name(broker, trigger, part)
        for broker, trigger, part in (one, other)
    ]

    assert (names[0] == names[1]) == (one == other)
    assert all(_LETS_PASS.fullmatch(name) for name in names)


sources = special | st.builds("{} {}/{}".format, special, special, special)


@given(sources, sources)
def test_no_two_sources_have_the_same(one: str, other: str) -> None:
    names = [source_name(BROKER, "alone", source) for source in (one, other)]

    assert (names[0] == names[1]) == (one == other)
    assert all(_LETS_PASS.fullmatch(name) for name in names)
