"""``cemesh ingress``, ``cemesh dispatcher`` and ``cemesh sources``: parts of a mesh, run apart."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import click

from broker.cli.clusteroptions import kubernetes_options, require_paths
from broker.cli.help import Command
from broker.cli.installed import list_sources
from broker.cli.options import (
    admin_address,
    channel_option,
    data_address,
    drain_timeout_option,
    log_options,
    manifest_paths,
    max_event_size_option,
    network_options,
    output_option,
    resolve_option,
    story_options,
)
from broker.cli.tlsoptions import admin_tls_options, data_tls_options
from broker.settings import (
    KubernetesSettings,
    LogFormat,
    LogLevel,
    Part,
    Settings,
    StorySettings,
    TlsFiles,
)
from broker.tls import CaFile

_EXIT_CODES = """
      0  stopped when asked to (SIGINT, SIGTERM), with nothing left under way
      1  the manifests are refused; every problem is printed
      2  wrong usage
      3  it cannot start: a port is taken, a channel is unavailable or of one process alone"""

_channel = channel_option(
    "Channel of the brokers that ask for none: kafka://HOST:PORT, or amqp://HOST:PORT."
)


@click.command(
    cls=Command,
    short_help="Take events: a part of the mesh, run apart.",
    epilog=f"""
    Every option can also be given by the environment variable beside it, as for `cemesh run`.

    Examples:

      cemesh ingress mesh.yaml --channel kafka://localhost:9092
      cemesh ingress manifests/ --host 0.0.0.0 --port 8080 --admin-port 8081

    Exit codes:
    {_EXIT_CODES}
    """,
)
@manifest_paths
@data_address
@data_tls_options
@admin_address
@admin_tls_options
@_channel
@resolve_option
@kubernetes_options
@max_event_size_option
@drain_timeout_option("How long requests under way may take to finish when the mesh stops.")
@story_options
@log_options
@click.pass_context
def ingress(
    ctx: click.Context,
    *,
    paths: tuple[Path, ...],
    host: str,
    port: int,
    tls: TlsFiles | None,
    admin_host: str,
    admin_port: int,
    admin_tls: TlsFiles | None,
    channel: str | None,
    resolve: tuple[tuple[str, str], ...],
    kubernetes: KubernetesSettings | None,
    cluster_domain: str,
    max_event_size: int,
    drain_timeout: timedelta,
    log_format: LogFormat,
    log_level: LogLevel,
    audit_log: Path | None,
    stories: StorySettings,
) -> None:
    """Take events for the brokers that the manifests in PATHS describe, and store them.

    As many of these processes as wanted can run beside each other. Each reads all manifests,
    and follows them as they change; `cemesh dispatcher` runs the triggers, `cemesh sources` the
    sources. Brokers need a channel that processes share, such as Kafka or RabbitMQ.
    """
    require_paths(ctx, paths, kubernetes)
    _run(
        ctx,
        Settings(
            paths=paths,
            parts=frozenset({Part.INGRESS}),
            host=host,
            port=port,
            tls=tls,
            admin_host=admin_host,
            admin_port=admin_port,
            admin_tls=admin_tls,
            channel=channel,
            resolve=dict(resolve),
            kubernetes=kubernetes,
            cluster_domain=cluster_domain,
            max_event_bytes=max_event_size,
            drain_timeout=drain_timeout,
            log_format=log_format,
            log_level=log_level,
            audit_log=audit_log,
            stories=stories,
        ),
    )


@click.command(
    cls=Command,
    short_help="Run the triggers: a part of the mesh, run apart.",
    epilog=f"""
    Every option can also be given by the environment variable beside it, as for `cemesh run`.

    Examples:

      cemesh dispatcher mesh.yaml --channel kafka://localhost:9092
      cemesh dispatcher manifests/ --admin-port 8082

    Exit codes:
    {_EXIT_CODES}
    """,
)
@manifest_paths
@admin_address
@admin_tls_options
@_channel
@resolve_option
@kubernetes_options
@network_options
@drain_timeout_option("How long attempts under way may take to finish when the mesh stops.")
@story_options
@log_options
@click.pass_context
def dispatcher(
    ctx: click.Context,
    *,
    paths: tuple[Path, ...],
    admin_host: str,
    admin_port: int,
    admin_tls: TlsFiles | None,
    channel: str | None,
    resolve: tuple[tuple[str, str], ...],
    kubernetes: KubernetesSettings | None,
    cluster_domain: str,
    allow: tuple[str, ...],
    proxy: str | None,
    no_proxy: tuple[str, ...],
    ca_certs: CaFile | None,
    drain_timeout: timedelta,
    log_format: LogFormat,
    log_level: LogLevel,
    audit_log: Path | None,
    stories: StorySettings,
) -> None:
    """Run the triggers that the manifests in PATHS describe: deliver what the brokers store.

    As many of these processes as wanted can run beside each other: the channel shares the
    events out among them. Each reads all manifests, and follows them as they change. It listens
    on the admin port only. Brokers need a channel that processes share, such as Kafka or
    RabbitMQ.
    """
    require_paths(ctx, paths, kubernetes)
    _run(
        ctx,
        Settings(
            paths=paths,
            parts=frozenset({Part.DISPATCHER}),
            admin_host=admin_host,
            admin_port=admin_port,
            admin_tls=admin_tls,
            channel=channel,
            resolve=dict(resolve),
            kubernetes=kubernetes,
            cluster_domain=cluster_domain,
            allow=allow,
            proxy=proxy,
            no_proxy=no_proxy,
            ca_certs=ca_certs,
            drain_timeout=drain_timeout,
            log_format=log_format,
            log_level=log_level,
            audit_log=audit_log,
            stories=stories,
        ),
    )


@click.command(
    cls=Command,
    short_help="Run the sources: a part of the mesh, run apart; or list them.",
    epilog=f"""
    Every option can also be given by the environment variable beside it, as for `cemesh run`.

    Examples:

      cemesh sources
      cemesh sources mesh.yaml --channel kafka://localhost:9092
      cemesh sources manifests/ --admin-port 8083

    Exit codes:
    {_EXIT_CODES}
    """,
)
@manifest_paths
@admin_address
@admin_tls_options
@_channel
@resolve_option
@kubernetes_options
@story_options
@log_options
@output_option
@click.pass_context
def sources(
    ctx: click.Context,
    *,
    paths: tuple[Path, ...],
    admin_host: str,
    admin_port: int,
    admin_tls: TlsFiles | None,
    channel: str | None,
    resolve: tuple[tuple[str, str], ...],
    kubernetes: KubernetesSettings | None,
    cluster_domain: str,
    log_format: LogFormat,
    log_level: LogLevel,
    audit_log: Path | None,
    stories: StorySettings,
    output: str,
) -> None:
    """Run the sources that the manifests in PATHS describe, and store what they emit.

    It reads all manifests, follows them as they change, and listens on the admin port only. Brokers
    need a channel that processes share, such as Kafka or RabbitMQ. Run two such processes, and what
    may run only once (a PingSource) runs in one of them, and in the other when that has gone.

    Without PATHS, it lists the sources that are installed (--output is for that).
    """
    if not paths and kubernetes is None:
        list_sources(output=output)
        return
    _run(
        ctx,
        Settings(
            paths=paths,
            parts=frozenset({Part.SOURCES}),
            admin_host=admin_host,
            admin_port=admin_port,
            admin_tls=admin_tls,
            channel=channel,
            resolve=dict(resolve),
            kubernetes=kubernetes,
            cluster_domain=cluster_domain,
            log_format=log_format,
            log_level=log_level,
            audit_log=audit_log,
            stories=stories,
        ),
    )


def _run(ctx: click.Context, settings: Settings) -> NoReturn:
    from broker import app

    ctx.exit(app.run(settings))
