"""The command line as a whole: settings, help, exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from broker.cli.root import cli
from broker.errors import (
    CemeshError,
    ChannelUnavailable,
    DataDirectoryInUse,
    InvalidManifest,
    PluginNotFound,
    Problem,
)
from broker.policy import Network
from broker.settings import Part, Settings, TlsFiles
from tests.services.certificates import make_certificates

COMMANDS = [
    ["run"],
    ["ingress"],
    ["dispatcher"],
    ["sources"],
    ["check"],
    ["test"],
    ["explain"],
    ["send"],
    ["tail"],
    ["status"],
    ["deadletters"],
    ["deadletters", "list"],
    ["deadletters", "show"],
    ["deadletters", "redrive"],
    ["display"],
    ["version"],
]


class App:
    """Stands for `broker.app`: keeps the settings, and ends as it is told."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.ends: int | BaseException = 0

    def run(self, settings: Settings) -> int:
        self.settings = settings
        if isinstance(self.ends, BaseException):
            raise self.ends
        return self.ends


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    stand_in = App()
    monkeypatch.setattr("broker.app.run", stand_in.run)
    for name in ("CEMESH_PATHS", "CEMESH_PORT", "CEMESH_HOST", "CEMESH_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return stand_in


def invoke(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, env=dict(env or {}), prog_name="cemesh")


def test_run_without_options_takes_the_defaults_of_the_settings(app: App) -> None:
    result = invoke("run", "mesh.yaml")

    assert result.exit_code == 0
    assert app.settings == Settings(paths=(Path("mesh.yaml"),))


def test_run_takes_every_setting_from_its_options(app: App) -> None:
    options = (
        "--data-dir /d --host 0.0.0.0 --port 0 --admin-host ::1 --admin-port 1 --channel memory: "
        "--resolve Service/a/b=http://x/?a=b --resolve Service/a/c=http://y/ --retention-age 36h "
        "--allow-destination *.internal --allow-destination 10.0.0.0/8 "
        "--proxy http://proxy.internal:3128 --no-proxy *.internal "
        "--retention-size 5GB --max-event-size 64KiB --drain-timeout 1.5s --log-format json "
        "--log-level debug"
    )

    result = invoke("run", "a.yaml", "b", *options.split())

    assert result.exit_code == 0
    assert app.settings == Settings(
        paths=(Path("a.yaml"), Path("b")),
        data_dir=Path("/d"),
        host="0.0.0.0",
        port=0,
        admin_host="::1",
        admin_port=1,
        channel="memory:",
        resolve={"Service/a/b": "http://x/?a=b", "Service/a/c": "http://y/"},
        allow=("*.internal", "10.0.0.0/8"),
        proxy="http://proxy.internal:3128",
        no_proxy=("*.internal",),
        retention_age=timedelta(hours=36),
        retention_bytes=5_000_000_000,
        max_event_bytes=65536,
        drain_timeout=timedelta(seconds=1.5),
        log_format="json",
        log_level="debug",
    )


def test_run_takes_every_setting_from_the_environment_too(app: App) -> None:
    env = {
        "CEMESH_PATHS": "a.yaml:b",
        "CEMESH_DATA_DIR": "/d",
        "CEMESH_HOST": "0.0.0.0",
        "CEMESH_PORT": "1",
        "CEMESH_ADMIN_HOST": "::1",
        "CEMESH_ADMIN_PORT": "2",
        "CEMESH_CHANNEL": "memory:",
        "CEMESH_RESOLVE": "Service/a/b=http://x/ Service/a/c=http://y/",
        "CEMESH_ALLOW_DESTINATION": "*.internal 10.0.0.0/8",
        "CEMESH_PROXY": "http://mesh:sesame@proxy.internal:3128",
        "CEMESH_NO_PROXY": "*.internal ::1",
        "CEMESH_RETENTION_AGE": "1d",
        "CEMESH_RETENTION_SIZE": "1",
        "CEMESH_MAX_EVENT_SIZE": "2",
        "CEMESH_DRAIN_TIMEOUT": "200ms",
        "CEMESH_LOG_FORMAT": "json",
        "CEMESH_LOG_LEVEL": "error",
    }

    result = invoke("run", env=env)

    assert result.exit_code == 0
    assert app.settings == Settings(
        paths=(Path("a.yaml"), Path("b")),
        data_dir=Path("/d"),
        host="0.0.0.0",
        port=1,
        admin_host="::1",
        admin_port=2,
        channel="memory:",
        resolve={"Service/a/b": "http://x/", "Service/a/c": "http://y/"},
        allow=("*.internal", "10.0.0.0/8"),
        proxy="http://mesh:sesame@proxy.internal:3128",
        no_proxy=("*.internal", "::1"),
        retention_age=timedelta(days=1),
        retention_bytes=1,
        max_event_bytes=2,
        drain_timeout=timedelta(milliseconds=200),
        log_format="json",
        log_level="error",
    )


@pytest.mark.parametrize("wrong", ["http://10.0.0.1/", "10.0.0.1:80", "*", "0x7f.1", "10.0.0.1/8"])
def test_a_destination_to_allow_that_is_none_is_wrong_usage(app: App, wrong: str) -> None:
    result = invoke("run", "mesh.yaml", "--allow-destination", wrong)

    assert result.exit_code == 2
    assert wrong in result.stderr
    assert app.settings is None


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (Settings(paths=()), True),
        (Settings(paths=(), host="localhost", admin_host="::1"), True),
        (Settings(paths=(), host="0.0.0.0"), False),
        (Settings(paths=(), admin_host="10.0.0.1"), False),
        (Settings(paths=(), host="0.0.0.0", parts=frozenset({Part.DISPATCHER})), True),
        (Settings(paths=(), host="mesh.internal"), False),
    ],
)
def test_deliveries_may_lead_to_this_machine_where_nobody_else_reaches_the_mesh(
    settings: Settings, allowed: bool
) -> None:
    assert settings.network == Network(loopback=allowed)


def test_what_is_allowed_is_allowed_wherever_the_mesh_listens() -> None:
    found = Settings(paths=(), host="0.0.0.0", allow=("127.0.0.1",)).network

    assert found == Network(allowed=("127.0.0.1",), loopback=False)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://proxy:3128", "not an http URL"),
        ("http://proxy", "no host and port"),
        ("http://mesh:sesame@proxy:3128", "in the variable CEMESH_PROXY"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_wrong_usage(app: App, url: str, told: str) -> None:
    result = invoke("run", "mesh.yaml", "--proxy", url)

    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert "sesame" not in result.stderr
    assert app.settings is None


@pytest.mark.parametrize("command", ["run", "ingress"])
def test_ports_are_given_certificates(app: App, command: str) -> None:
    by_option = [
        *("--tls-cert", "a", "--tls-key", "b", "--client-ca", "c"),
        *("--admin-tls-cert", "d", "--admin-tls-key", "e", "--admin-client-ca", "f"),
    ]
    by_variable = {
        "CEMESH_TLS_CERT": "a",
        "CEMESH_TLS_KEY": "b",
        "CEMESH_CLIENT_CA": "c",
        "CEMESH_ADMIN_TLS_CERT": "d",
        "CEMESH_ADMIN_TLS_KEY": "e",
        "CEMESH_ADMIN_CLIENT_CA": "f",
    }
    for arguments, env in ((by_option, None), ([], by_variable)):
        assert invoke(command, "mesh.yaml", *arguments, env=env).exit_code == 0

        assert app.settings is not None
        assert app.settings.tls == TlsFiles(
            certificate=Path("a"), key=Path("b"), client_ca=Path("c")
        )
        assert app.settings.admin_tls == TlsFiles(
            certificate=Path("d"), key=Path("e"), client_ca=Path("f")
        )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("run mesh.yaml --tls-cert a", "--tls-cert and --tls-key go together"),
        ("ingress mesh.yaml --tls-key a", "--tls-cert and --tls-key go together"),
        ("dispatcher mesh.yaml --admin-tls-key a", "--admin-tls-cert and --admin-tls-key go"),
        ("run mesh.yaml --client-ca a", "--client-ca needs --tls-cert and --tls-key"),
        ("sources mesh.yaml --admin-client-ca a", "--admin-client-ca needs --admin-tls-cert"),
        ("send --type t --cert a", "--cert and --key go together"),
        ("status --admin-cert a", "--admin-cert and --admin-key go together"),
        ("status --admin-ca-certs missing.pem", "missing.pem cannot be read: No such file"),
    ],
)
def test_half_of_what_tls_takes_is_wrong_usage(app: App, options: str, told: str) -> None:
    result = invoke(*options.split())

    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert app.settings is None


@pytest.mark.parametrize("command", ["run", "dispatcher"])
def test_authorities_to_trust_are_read_from_their_file(
    app: App, tmp_path: Path, command: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    authorities = [make_certificates().authority for _ in range(2)]
    bundle.write_text("\n".join(["# Ä comment", *authorities]), encoding="utf-8")

    by_option = invoke(command, "mesh.yaml", "--ca-certs", str(bundle))
    found = app.settings
    by_variable = invoke(command, "mesh.yaml", env={"CEMESH_CA_CERTS": str(bundle)})

    assert (by_option.exit_code, by_variable.exit_code) == (0, 0)
    assert found is not None
    assert found == app.settings
    assert found.network.ca_certs is not None
    assert found.network.ca_certs.pem.count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        ("none", "holds no certificates in PEM format"),
        ("", "holds no certificates in PEM format"),
        ("-----BEGIN CERTIFICATE-----\nsesame\n", "holds no certificates in PEM format"),
    ],
)
def test_authorities_that_cannot_be_read_are_wrong_usage(
    app: App, tmp_path: Path, content: str | None, told: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)

    result = invoke("run", "mesh.yaml", "--ca-certs", str(bundle))

    assert result.exit_code == 2
    assert f"bundle.pem {told}" in " ".join(result.stderr.split())
    assert app.settings is None


WITH_PASSWORD = "amqps://orders:ses/a@me@rabbit/shop"


@pytest.mark.parametrize("command", ["run", *(part.value for part in Part)])
def test_a_password_on_the_command_line_is_refused_and_not_shown(app: App, command: str) -> None:
    result = invoke(command, "mesh.yaml", "--channel", WITH_PASSWORD)

    assert result.exit_code == 2
    assert "give the URL in the variable CEMESH_CHANNEL" in " ".join(result.stderr.split())
    assert "ses" not in result.stderr.replace("password", "")
    assert app.settings is None


def test_a_password_in_the_environment_is_taken_and_not_shown(app: App) -> None:
    result = invoke("run", "mesh.yaml", env={"CEMESH_CHANNEL": WITH_PASSWORD})

    assert result.exit_code == 0
    assert app.settings is not None
    assert app.settings.channel == WITH_PASSWORD
    assert app.settings.data == "amqps://rabbit/shop"
    assert "ses/a@me" not in repr(app.settings)


@pytest.mark.parametrize(
    "url",
    ["amqp://rabbit:5672", "amqp://orders@rabbit", "sqlite:/data/a:b@c", "kafka://a:1,b:2?x=1"],
)
def test_a_channel_without_a_password_may_stand_on_the_command_line(app: App, url: str) -> None:
    assert invoke("run", "mesh.yaml", "--channel", url).exit_code == 0


def test_where_events_are_is_told_in_full() -> None:
    assert Settings(paths=()).data == ".cemesh"
    assert Settings(paths=(), channel="kafka://a:1,b:2").data == "kafka://a:1,b:2"


OF_ANY_PART = Settings(
    paths=(Path("a.yaml"), Path("b")),
    admin_host="::1",
    admin_port=1,
    channel="k:",
    resolve={"A/b/c": "http://x/"},
    log_format="json",
    log_level="debug",
)


@pytest.mark.parametrize(
    ("part", "options", "settings"),
    [
        (
            Part.INGRESS,
            "--host 0.0.0.0 --port 2 --max-event-size 64KiB --drain-timeout 5s",
            replace(
                OF_ANY_PART,
                host="0.0.0.0",
                port=2,
                max_event_bytes=65536,
                drain_timeout=timedelta(seconds=5),
            ),
        ),
        (
            Part.DISPATCHER,
            "--allow-destination ::1 --drain-timeout 5s",
            replace(OF_ANY_PART, allow=("::1",), drain_timeout=timedelta(seconds=5)),
        ),
        (Part.SOURCES, "", OF_ANY_PART),
    ],
)
def test_a_part_takes_the_settings_that_mean_something_to_it(
    app: App, part: Part, options: str, settings: Settings
) -> None:
    of_any_part = (
        "--admin-host ::1 --admin-port 1 --channel k: --resolve A/b/c=http://x/ "
        "--log-format json --log-level debug"
    )

    result = invoke(part.value, "a.yaml", "b", *of_any_part.split(), *options.split())

    assert result.exit_code == 0, result.output
    assert app.settings == replace(settings, parts=frozenset({part}))


NOT_OF_PARTS = ("--data-dir d", "--retention-age 1d", "--retention-size 1GB")
NOT_OF_INGRESS = (*NOT_OF_PARTS, "--allow-destination ::1", "--proxy http://p:1")
NOT_OF_DISPATCHER = (*NOT_OF_PARTS, "--host ::1", "--port 1", "--max-event-size 1MB")
NOT_OF_SOURCES = (*NOT_OF_DISPATCHER, "--allow-destination ::1", "--drain-timeout 1s")


@pytest.mark.parametrize(
    ("part", "option"),
    [
        *((Part.INGRESS, each) for each in NOT_OF_INGRESS),
        *((Part.DISPATCHER, each) for each in NOT_OF_DISPATCHER),
        *((Part.SOURCES, each) for each in NOT_OF_SOURCES),
    ],
)
def test_a_setting_that_means_nothing_to_a_part_is_wrong_usage(
    app: App, part: Part, option: str
) -> None:
    result = invoke(part.value, "mesh.yaml", *option.split())

    assert result.exit_code == 2
    assert option.partition(" ")[0] in result.stderr
    assert app.settings is None


@pytest.mark.parametrize("part", Part)
def test_a_part_without_options_takes_the_defaults_of_the_settings(app: App, part: Part) -> None:
    assert invoke(part.value, "mesh.yaml").exit_code == 0

    assert app.settings == Settings(paths=(Path("mesh.yaml"),), parts=frozenset({part}))


def test_an_option_goes_before_its_variable(app: App) -> None:
    invoke("run", "a.yaml", "--port", "1", env={"CEMESH_PORT": "2"})

    assert app.settings is not None
    assert app.settings.port == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--resolve", "Service/a/b"),
        ("--resolve", "=http://x/"),
        ("--retention-age", "7"),
        ("--retention-age", "-7d"),
        ("--retention-age", "7 d"),
        ("--drain-timeout", "1w"),
        ("--retention-size", "1gb"),
        ("--max-event-size", "1.5MiB"),
        ("--max-event-size", "-1"),
        ("--log-level", "loud"),
    ],
)
def test_a_value_that_makes_no_sense_is_wrong_usage(app: App, option: str, value: str) -> None:
    result = invoke("run", "mesh.yaml", option, value)

    assert result.exit_code == 2
    assert option in result.stderr
    assert app.settings is None


def test_run_needs_manifests(app: App) -> None:
    result = invoke("run")

    assert result.exit_code == 2
    assert app.settings is None


@pytest.mark.parametrize("ends", [0, 1, 3])
@pytest.mark.parametrize("command", ["run", "ingress", "dispatcher", "sources"])
def test_it_ends_with_the_code_of_the_mesh(app: App, command: str, ends: int) -> None:
    app.ends = ends

    assert invoke(command, "mesh.yaml").exit_code == ends


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidManifest([Problem(file=None, line=None, message="all wrong")]), 1),
        (CemeshError("no"), 1),
        (DataDirectoryInUse("process 17 holds it"), 3),
        (ChannelUnavailable("no disk"), 3),
        (PluginNotFound("no channel 'x'"), 3),
    ],
)
def test_an_error_ends_the_command_with_its_text_and_code(
    app: App, error: CemeshError, code: int
) -> None:
    app.ends = error

    result = invoke("run", "mesh.yaml")

    assert result.exit_code == code
    assert result.stderr == f"Error: {error}\n"
    assert result.stdout == ""


def test_an_interrupt_ends_the_command_quietly(app: App) -> None:
    app.ends = KeyboardInterrupt()

    result = invoke("run", "mesh.yaml")

    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_examples_as_they_were_written(command: list[str]) -> None:
    result = invoke(*command, "--help")

    assert result.exit_code == 0
    assert f"\n  cemesh {' '.join(command)}" in result.stdout
    assert "Exit codes" in result.stdout or command == ["deadletters"]


def test_every_option_that_is_not_obvious_is_explained() -> None:
    obvious = {"--count", "--limit", "--log-format", "--log-level", "--help"}

    def commands(group: click.Group) -> Iterator[click.Command]:
        for each in group.commands.values():
            if isinstance(each, click.Group):
                yield from commands(each)
            else:
                yield each

    silent = [
        f"{command.name} {option.opts[-1]}"
        for command in commands(cli)
        for option in command.params
        if isinstance(option, click.Option) and not option.help and option.opts[0] not in obvious
    ]
    assert silent == []


def test_the_version_is_told() -> None:
    assert invoke("version").stdout.startswith("cemesh 0.")
    assert invoke("--version").stdout.startswith("cemesh 0.")


def test_what_a_command_may_not_need_is_not_loaded_before_it_runs() -> None:
    heavy = {"aio_pika", "aiokafka", "asyncio", "msgspec", "pydantic", "starlette", "uvicorn"}
    script = "import sys, broker.cli; print(*sys.modules, sep='\\n')"

    loaded = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)

    assert heavy.isdisjoint(loaded.stdout.decode().splitlines())
