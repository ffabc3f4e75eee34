"""Texts with attributes in them, as sinks of several systems have them."""

from __future__ import annotations

import pytest

from broker.connections.templates import checked_template, filled, literal_text, names_in

EVENT = {"type": "order", "subject": "{type}", "source": ""}


@pytest.mark.parametrize("text", ["", "orders", "{type}", "{type}{type}/x-{ce2}"])
def test_a_template_with_names_of_attributes_is_taken_as_it_is(text: str) -> None:
    assert checked_template(text) == text


@pytest.mark.parametrize("name", ["", "Type", "my_type", "type ", "typé", "data"])
def test_what_is_no_name_of_an_attribute_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of an attribute: a-z and 0-9") as caught:
        checked_template(f"a/{{type}}/{{{name}}}")

    assert str(caught.value).startswith(f"'{{{name}}}' ")


@pytest.mark.parametrize("text", ["{", "a}", "{{type}}", "{type}}", "}{"])
def test_a_brace_without_its_other_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^has a brace that belongs to no \{attribute\}$"):
        checked_template(text)


def test_a_template_is_what_differs_and_what_does_not() -> None:
    assert names_in("a/{type}/{id}-{type}") == {"type", "id"}
    assert literal_text("a/{type}/{id}-{type}") == "a//-"


def test_the_value_of_each_attribute_takes_its_place_and_is_not_read_again() -> None:
    assert filled("{subject}:{type}/{source}.", EVENT.get, made="it") == "{type}:order/."


def test_an_attribute_without_a_value_is_said_with_what_it_is_for() -> None:
    with pytest.raises(ValueError, match=r"^the event has no 'time', which its key is made of$"):
        filled("{type}/{time}", EVENT.get, made="its key")
