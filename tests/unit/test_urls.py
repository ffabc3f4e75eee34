from __future__ import annotations

import pytest

from broker.urls import without_credentials


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://hooks.test/orders", "https://hooks.test/orders"),
        ("https://hooks.test/@me", "https://hooks.test/@me"),
        ("https://hooks.test:8443/in?code=sesame&a=b", "https://hooks.test:8443/in?…"),
        ("https://hooks.test/in?", "https://hooks.test/in?…"),
        ("amqp://mesh:sesame@rabbit:5672/vhost", "amqp://rabbit:5672/vhost"),
        ("amqp://mesh:sesame@rabbit/x?token=sesame@y", "amqp://rabbit/x?…"),
        ("broker://default/orders", "broker://default/orders"),
    ],
)
def test_a_url_is_told_without_what_may_be_secret(url: str, told: str) -> None:
    assert without_credentials(url) == told
