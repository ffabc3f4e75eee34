"""What an operator is told of trouble with a store, and how often."""

from __future__ import annotations

import logging

import pytest

from broker.channels.trouble import Trouble
from broker.errors import ChannelUnavailable

NO_TOPIC = ChannelUnavailable("there is no topic 'orders-state'")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_what_many_meet_is_told_once_and_again_after_half_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = [0.0, 1.0, 29.9, 30.0, 31.0]
    clock = iter([time for time in times for _ in range(2)])
    trouble = Trouble(clock=lambda: next(clock))

    with caplog.at_level(logging.DEBUG):
        for _ in times:
            trouble.met("cannot store", NO_TOPIC, trigger="default/orders")
            trouble.met("places not stored", NO_TOPIC)

    assert warnings(caplog) == ["cannot store", "places not stored"] * 2
    assert len(caplog.records) == 10
    assert vars(caplog.records[0])["why"] == "there is no topic 'orders-state'"
    assert vars(caplog.records[0])["trigger"] == "default/orders"


def test_what_comes_of_an_outage_that_was_told_is_not_told_but_what_is_left_after_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = True
    trouble = Trouble(lambda: out)

    trouble.met("cannot store", NO_TOPIC)
    assert warnings(caplog) == []

    out = False
    trouble.met("cannot store", NO_TOPIC)
    assert warnings(caplog) == ["cannot store"]


def test_an_error_that_is_told_goes_on_to_whoever_has_to_deal_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = Trouble()

    with pytest.raises(ChannelUnavailable), trouble.told("cannot store"):
        raise NO_TOPIC

    assert warnings(caplog) == ["cannot store"]
