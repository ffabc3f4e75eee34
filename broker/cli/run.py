"""``cemesh run``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from broker.cli.clusteroptions import kubernetes_options, require_paths
from broker.cli.help import Command
from broker.cli.options import (
    admin_address,
    channel_option,
    data_address,
    drain_timeout_option,
    log_options,
    manifest_paths,
    max_event_size_option,
    network_options,
    resolve_option,
    story_options,
)
from broker.cli.tlsoptions import admin_tls_options, data_tls_options
from broker.cli.values import Duration, Size
from broker.settings import (
    MAX_SHARDS,
    KubernetesSettings,
    LogFormat,
    LogLevel,
    Settings,
    StorySettings,
    TlsFiles,
)
from broker.tls import CaFile


@click.command(
    cls=Command,
    short_help="Run the mesh that manifests describe.",
    epilog="""
    Every option can also be given by the environment variable beside it; CEMESH_PATHS
    separates its paths as PATH does, CEMESH_RESOLVE and CEMESH_ALLOW_DESTINATION what is in them
    by blanks.

    Examples:

      cemesh run mesh.yaml
      cemesh run manifests/ --data-dir /var/lib/cemesh --host 0.0.0.0
      cemesh run mesh.yaml --resolve Service/default/audit=http://127.0.0.1:9000/
      cemesh run --kubernetes --kubernetes-namespace shop

    Exit codes:

      0  stopped when asked to (SIGINT, SIGTERM), with nothing left under way
      1  the manifests are refused; every problem is printed
      2  wrong usage
      3  it cannot start: a port or the data directory is taken, the channel is unavailable
    """,
)
@manifest_paths
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".cemesh"),
    show_default=True,
    envvar="CEMESH_DATA_DIR",
    show_envvar=True,
    help="Where the embedded channel keeps its events.",
)
@data_address
@data_tls_options
@admin_address
@admin_tls_options
@channel_option(
    "Channel of the brokers that ask for none: kafka://HOST:PORT, or amqp://HOST:PORT. "
    "Default: the embedded one, in the data dir."
)
@resolve_option
@kubernetes_options
@network_options
@click.option(
    "--retention-age",
    type=Duration(),
    default="7d",
    show_default=True,
    envvar="CEMESH_RETENTION_AGE",
    show_envvar=True,
    help="How long events are kept that no trigger waits for.",
)
@click.option(
    "--retention-size",
    type=Size(),
    default="1GiB",
    show_default=True,
    envvar="CEMESH_RETENTION_SIZE",
    show_envvar=True,
    help="How much of them is kept for each broker.",
)
@max_event_size_option
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_SHARDS),
    default=1,
    show_default=True,
    envvar="CEMESH_WORKERS",
    show_envvar=True,
    help="How many processes share the work: up to one for each core.",
)
@drain_timeout_option("How long attempts under way may take to finish when the mesh stops.")
@story_options
@log_options
@click.pass_context
def run(
    ctx: click.Context,
    *,
    paths: tuple[Path, ...],
    data_dir: Path,
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
    allow: tuple[str, ...],
    proxy: str | None,
    no_proxy: tuple[str, ...],
    ca_certs: CaFile | None,
    retention_age: timedelta,
    retention_size: int,
    max_event_size: int,
    workers: int,
    drain_timeout: timedelta,
    log_format: LogFormat,
    log_level: LogLevel,
    audit_log: Path | None,
    stories: StorySettings,
) -> None:
    """Run the mesh that the manifests in PATHS (YAML files and folders) describe.

    The files are watched: a good change is taken up, a bad one is reported and changes
    nothing. Events are taken on --host and --port, under /NAMESPACE/BROKER. The admin port
    asks nobody who they are; keep it on loopback or in a network that you trust.
    """
    require_paths(ctx, paths, kubernetes)
    settings = Settings(
        paths=paths,
        data_dir=data_dir,
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
        allow=allow,
        proxy=proxy,
        no_proxy=no_proxy,
        ca_certs=ca_certs,
        retention_age=retention_age,
        retention_bytes=retention_size,
        max_event_bytes=max_event_size,
        workers=workers,
        drain_timeout=drain_timeout,
        log_format=log_format,
        log_level=log_level,
        audit_log=audit_log,
        stories=stories,
    )
    from broker import app

    ctx.exit(app.run(settings))
