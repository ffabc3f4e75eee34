"""Where objects of a cluster take events."""

from __future__ import annotations

import pytest

from broker.kubernetes.addresses import addressable_essence, of_addressable, of_service
from broker.manifest.destinations import Address

HOST = "shop.default.svc.example.test"


@pytest.mark.parametrize(
    ("ports", "url"),
    [
        ([], f"http://{HOST}"),  # an ExternalName has none
        ([{"port": 80}], f"http://{HOST}"),
        ([{"port": 8080}], f"http://{HOST}:8080"),
        ([{"port": 8080, "name": "http"}, {"port": 80, "name": "plain"}], f"http://{HOST}"),
        ([{"port": 9090, "name": "admin"}, {"port": 8080, "name": "http"}], f"http://{HOST}:8080"),
        ([{"port": 443}], f"https://{HOST}"),
        ([{"port": 8443, "name": "https"}], f"https://{HOST}:8443"),
        ([{"port": 8443, "appProtocol": "https"}], f"https://{HOST}:8443"),
    ],
)
def test_a_service_takes_events_at_its_port_for_http(
    ports: list[dict[str, object]], url: str
) -> None:
    service = {
        "kind": "Service",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"ports": ports},
    }

    assert of_service(service, "example.test") == Address(url=url)


def a_channel(**status: object) -> dict[str, object]:
    return {
        "kind": "Channel",
        "metadata": {"name": "c", "namespace": "default"},
        "status": status,
    }


@pytest.mark.parametrize(
    ("status", "address"),
    [
        ({"address": {"url": "http://a"}}, Address(url="http://a")),
        (
            {"address": {"url": "http://a", "audience": "us"}, "addresses": [{"url": "http://b"}]},
            Address(url="http://a", audience="us"),
        ),
        ({"address": {}, "addresses": [{}, {"url": "http://b"}]}, Address(url="http://b")),
        ({}, "the Channel default/c has no address in its status yet"),
        ({"address": "text"}, "the Channel default/c has no address in its status yet"),
        (
            {"conditions": [{"type": "Ready", "message": "no leader"}]},
            "the Channel default/c has no address in its status: no leader",
        ),
    ],
)
def test_what_is_addressable_says_where_it_takes_events(
    status: dict[str, object], address: Address | str
) -> None:
    assert of_addressable(a_channel(**status)) == address


def test_an_authority_that_is_none_is_told() -> None:
    found = of_addressable(a_channel(address={"url": "https://a", "CACerts": "nonsense"}))

    assert isinstance(found, str)
    assert found.startswith("the CACerts in the status of the Channel default/c: ")


def test_conditions_count_only_where_there_is_no_address() -> None:
    one, other = ({"type": "Ready", "message": each} for each in ("now", "then"))
    address = {"url": "http://a"}

    assert addressable_essence(a_channel(conditions=[one])) != addressable_essence(
        a_channel(conditions=[other])
    )
    assert addressable_essence(a_channel(conditions=[one], address=address)) == addressable_essence(
        a_channel(conditions=[other], address=address)
    )
