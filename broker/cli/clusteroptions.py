"""The options of a mesh whose objects are in a Kubernetes cluster."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any, cast

import click

from broker.cli.options import Decorated
from broker.settings import KubernetesSettings


def kubernetes_options(command: Decorated) -> Decorated:
    """Add what says which objects of a cluster are run, as the argument ``kubernetes``.

    It is None where none are; the command then has to have PATHS.
    """

    @wraps(command)
    def gathered(**given: Any) -> object:  # noqa: ANN401 - the arguments of any command
        wanted = given.pop("kubernetes")
        kubernetes = KubernetesSettings(
            namespaces=given.pop("kubernetes_namespace"),
            classes=given.pop("kubernetes_class"),
            left=given.pop("kubernetes_leave"),
            address=given.pop("kubernetes_address"),
            lease=given.pop("kubernetes_lease"),
            kubeconfig=given.pop("kubeconfig"),
            trust=given.pop("kubernetes_trust"),
        )
        return command(kubernetes=kubernetes if wanted else None, **given)

    decorated = cast("Decorated", gathered)
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def require_paths(
    ctx: click.Context, paths: tuple[Path, ...], kubernetes: KubernetesSettings | None
) -> None:
    """Refuse a command that has nothing to run as click refuses one without its arguments."""
    if not paths and kubernetes is None:
        raise click.UsageError("Missing argument 'PATHS...': name manifests, or --kubernetes.", ctx)


def _address(_: click.Context, param: click.Parameter, text: str | None) -> str | None:
    from yarl import URL

    if text is None:
        return None
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise click.BadParameter(f"'{text}' is not like http://HOST:PORT", param=param)
    return text.rstrip("/")


_OPTIONS = (
    click.option(
        "--kubernetes",
        is_flag=True,
        envvar="CEMESH_KUBERNETES",
        show_envvar=True,
        help="Run what Broker, Trigger and other objects of a Kubernetes cluster ask for, and "
        "write their statuses; PATHS may then be left out.",
    ),
    click.option(
        "--kubernetes-namespace",
        metavar="NAMESPACE",
        multiple=True,
        envvar="CEMESH_KUBERNETES_NAMESPACE",
        show_envvar=True,
        help="Only the objects of this namespace. Repeatable.",
    ),
    click.option(
        "--kubernetes-class",
        metavar="CLASS",
        multiple=True,
        envvar="CEMESH_KUBERNETES_CLASS",
        show_envvar=True,
        help="Only brokers of this class, as eventing.knative.dev/broker.class has it; beside "
        "Knative, that is cemesh. Repeatable.",
    ),
    click.option(
        "--kubernetes-leave",
        metavar="KIND",
        multiple=True,
        envvar="CEMESH_KUBERNETES_LEAVE",
        show_envvar=True,
        help="No objects of this kind, which others run. Repeatable.",
    ),
    click.option(
        "--kubernetes-trust",
        is_flag=True,
        envvar="CEMESH_KUBERNETES_TRUST",
        show_envvar=True,
        help="Let objects of the cluster run code, reach files and read the cluster as this mesh "
        "can itself: all who may write them could.",
    ),
    click.option(
        "--kubernetes-address",
        metavar="URL",
        callback=_address,
        envvar="CEMESH_KUBERNETES_ADDRESS",
        show_envvar=True,
        help="Where the data port is reached within the cluster: brokers say so in their status.",
    ),
    click.option(
        "--kubernetes-lease",
        metavar="NAME",
        envvar="CEMESH_KUBERNETES_LEASE",
        show_envvar=True,
        help="The Lease whose holder writes statuses, of several such processes. "
        "Default: cemesh, or cemesh-PART.",
    ),
    click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        envvar="KUBECONFIG",
        show_envvar=True,
        help="Which cluster is meant, and who we are there. Default: the one around this pod.",
    ),
    click.option(
        "--cluster-domain",
        metavar="DOMAIN",
        default="cluster.local",
        show_default=True,
        envvar="CEMESH_CLUSTER_DOMAIN",
        show_envvar=True,
        help="The DNS domain in which a ref of a Service is looked up.",
    ),
)
