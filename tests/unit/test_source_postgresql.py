"""PostgresqlSource and PostgresqlSink without a server: what a spec may say, and what a row is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.connections.postgresql.spec import quoted
from broker.connections.postgresql.tables import Column, Table
from broker.errors import InvalidEvent
from broker.event import Event
from broker.manifest import load
from sinks.postgresql import PostgresqlSinkSpec
from sinks.postgresql.rows import Rows
from sources.postgresql import PostgresqlSourceSpec
from sources.postgresql.rows import Row, event_of
from tests.services.certificates import make_certificates

PASSWORD = "swordfish"
SPEC: Mapping[str, object] = {
    "url": "postgresql://db.example.com/shop",
    "user": "mesh",
    "password": PASSWORD,
    "table": "outbox",
}
DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "sources" / "PostgresqlSource.md", DOCS / "sinks" / "PostgresqlSink.md")


def refused(**spec: object) -> str:
    with pytest.raises(ValidationError) as caught:
        PostgresqlSourceSpec.model_validate({**SPEC, **spec})
    assert PASSWORD not in str(caught.value)
    [error] = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg'].removeprefix('Value error, ')}"


# --- the spec --------------------------------------------------------------------------------


def test_a_spec_needs_no_more_than_where_who_and_which_table() -> None:
    spec = PostgresqlSourceSpec.model_validate(SPEC)

    assert (spec.host, spec.port, spec.database) == ("db.example.com", 5432, "shop")
    assert (spec.on_emitted, spec.channel) == ("delete", None)
    assert spec.poll_interval == timedelta(seconds=5)
    assert spec.columns.by_field["emitted_at"] == "emitted_at"


def test_a_url_may_have_a_port_an_ipv6_address_and_escapes() -> None:
    spec = PostgresqlSourceSpec.model_validate({**SPEC, "url": "postgres://[::1]:6432/my%20shop"})

    assert (spec.host, spec.port, spec.database) == ("::1", 6432, "my shop")


@pytest.mark.parametrize(
    "url",
    [
        "db.example.com:5432/shop",
        "mysql://db/shop",
        "postgresql://db",
        "postgresql://db/",
        "postgresql:///shop",
        "postgresql://db:0/shop",
        "postgresql://db:port/shop",
        "postgresql://[::1/shop",
        "postgresql://db/shop/more",
        "postgresql://db/shop?sslmode=disable",
    ],
)
def test_a_url_is_a_host_a_port_and_a_database(url: str) -> None:
    assert "is not of the form postgresql://HOST:PORT/DATABASE" in refused(url=url)


def test_a_url_has_no_password_and_does_not_show_it() -> None:
    message = refused(url=f"postgresql://mesh:{PASSWORD}@db/shop")

    assert message == (
        "url: has a user in it; write postgresql://HOST:PORT/DATABASE, and 'user' and 'password' "
        "beside it"
    )


@pytest.mark.parametrize("table", ["", "a.b.c", ".outbox", 'out"box', "a" * 64, "nul\0"])
def test_a_table_has_a_name_that_postgresql_takes(table: str) -> None:
    assert refused(table=table).startswith("table: ")


def test_the_names_of_tables_and_columns_are_quoted() -> None:
    spec = PostgresqlSourceSpec.model_validate({**SPEC, "table": "My Shop.Out; DROP"})

    assert spec.quoted_table == '"My Shop"."Out; DROP"'
    assert quoted('a.b"c') == '"a.b""c"'


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user": ""}, ": 'user' is empty"),
        (
            {"password": f"{PASSWORD}\n"},
            (
                ": 'password' has U+000A (line feed) at character 10, which no PostgreSQL "
                "password may have; was it made with 'echo' where 'echo -n' was meant?"
            ),
        ),
        (
            {"tls": {"enable": True, "caCert": PASSWORD}},
            "tls: 'caCert' holds no certificates in PEM format",
        ),
        (
            {"tls": {"enable": True, "key": PASSWORD}},
            "tls: 'cert' and 'key' are of no use without each other",
        ),
        (
            {"columns": {"subject": "type"}},
            "columns: 'type' and 'subject' are both in the column 'type'",
        ),
        ({"columns": {"data": ""}}, "columns.data: '' is no name: 1 to 63 bytes, and no NUL"),
        ({"pollInterval": "PT0.01S"}, "pollInterval: is less than PT0.1S"),
        ({"onEmitted": "keep"}, "onEmitted: Input should be 'delete' or 'mark'"),
        ({"tabel": "outbox"}, "tabel: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_said_and_secrets_are_not_shown(
    fields: Mapping[str, object], message: str
) -> None:
    assert refused(**fields) == message


def test_the_key_may_be_the_id_of_the_events() -> None:
    spec = PostgresqlSourceSpec.model_validate({**SPEC, "columns": {"id": "position"}})

    assert spec.columns.id == spec.columns.position


def test_a_secret_is_in_no_repr() -> None:
    assert PASSWORD not in repr(PostgresqlSourceSpec.model_validate(SPEC))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_manifest_of_the_page_is_taken_with_its_secret(page: Path, tmp_path: Path) -> None:
    found = re.search(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    authority = make_certificates().authority.replace("\n", "\n    ")
    brokers = "".join(
        f"---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: {name}}}\n"
        for name in ("default", "orders")
    )
    secret = (
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: shop-db}\n"
        f"stringData:\n  user: mesh\n  password: {PASSWORD}\n  ca.crt: |\n    {authority}\n"
    )
    file = tmp_path / "mesh.yaml"
    file.write_text(f"{found[1]}{brokers}{secret}")

    desired = load([file]).desired

    described = [each.spec for each in desired.sources.values()]
    sinks = [each.subscriber.sink for each in desired.triggers.values()]
    described += [each.spec for each in sinks if each is not None]
    [spec] = described
    assert isinstance(spec, PostgresqlSourceSpec | PostgresqlSinkSpec)
    assert spec.password is not None
    assert spec.password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(desired)


# --- rows ------------------------------------------------------------------------------------


def row(
    extensions: str | None = None,
    attributes: Mapping[str, str | None] = {},
    *,
    data: bytes | None = b"1",
    json: bool = True,
) -> Row:
    found = {"id": "1", "type": "order", "datacontenttype": None, **attributes}
    return Row(key=7, position="7", attributes=found, extensions=extensions, data=data, json=json)


def test_what_a_row_does_not_say_is_the_sources_or_is_left_out() -> None:
    assert event_of(row(), "/outbox").attributes == {
        "specversion": "1.0",
        "source": "/outbox",
        "id": "1",
        "type": "order",
        "datacontenttype": "application/json",
    }
    assert "datacontenttype" not in event_of(row(json=False), "/").attributes
    assert "datacontenttype" not in event_of(row(data=None), "/").attributes
    assert event_of(row(None, {"source": "/shop"}), "/outbox").source == "/shop"


@pytest.mark.parametrize("extensions", ["[]", "{", '{"a": 1.5}', '{"a": {}}', "[" * 100_000])
def test_extensions_are_an_object_of_simple_values(extensions: str) -> None:
    with pytest.raises(InvalidEvent, match="the extensions are no object of strings"):
        event_of(row(extensions), "/")


@pytest.mark.parametrize(
    ("extensions", "attributes", "why"),
    [
        ('{"specversion": "0.3"}', {}, "'specversion' is among the extensions"),
        ('{"type": "t"}', {}, "'type' is among the extensions"),
        ('{"data": "t"}', {}, "'data' cannot be the name of an attribute"),
        (None, {"id": None}, "'id' is missing"),
        (None, {"type": None}, "'type' is missing"),
        (None, {"time": "yesterday"}, "'time' is not an RFC 3339 timestamp"),
    ],
)
def test_a_row_that_is_no_event_says_why(
    extensions: str | None, attributes: Mapping[str, str | None], why: str
) -> None:
    with pytest.raises(InvalidEvent, match=why):
        event_of(row(extensions, attributes), "/")


def test_what_has_no_column_is_among_the_extensions() -> None:
    fields = ("id", "source", "type", "data", "extensions")
    columns = {each: Column(name=quoted(each), type="text", may=()) for each in fields}
    table = Table(oid=1, name='"t"', user="mesh", columns=columns)
    event = Event.of_typed(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "s", "n": 3}, b"1"
    )

    values = Rows(table, unique=()).values(event)

    assert values == ["1", "/s", "t", '{"subject":"s","n":3}', "1"]
