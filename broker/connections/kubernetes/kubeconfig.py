"""A kubeconfig file, as far as a process without a user at it can go by it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from broker.connections.kubernetes.access import Access, in_cluster, text_in, tls, token_in
from broker.errors import UpstreamUnavailable


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Part(BaseModel):
    # Of the many fields of other tools none changes whom we talk to, but those asked for here.
    model_config = ConfigDict(extra="ignore", alias_generator=_kebab, frozen=True)


class _Cluster(_Part):
    server: str
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool = False
    proxy_url: str | None = None


class _User(_Part):
    token: str | None = None
    token_file: str | None = Field(default=None, alias="tokenFile")
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    exec: Any = None
    auth_provider: Any = None
    username: str | None = None


class _Context(_Part):
    cluster: str
    user: str | None = None
    namespace: str | None = None


class _NamedCluster(_Part):
    name: str
    cluster: _Cluster


class _NamedUser(_Part):
    name: str
    user: _User = _User()


class _NamedContext(_Part):
    name: str
    context: _Context


class _Config(_Part):
    current_context: str = ""
    clusters: Sequence[_NamedCluster] = ()
    users: Sequence[_NamedUser] = ()
    contexts: Sequence[_NamedContext] = ()


_REFUSED_OF_USERS: Final = {
    "exec": "gets its credentials from another program ('exec'), which is not run",
    "auth_provider": "gets its credentials by an 'auth-provider', which is not known here",
    "username": "has a password, which no API server takes any more",
}
_INSTEAD: Final = "; give it a token, a tokenFile or a client certificate"

_Named = TypeVar("_Named", _NamedCluster, _NamedUser, _NamedContext)


def by_kubeconfig(path: Path) -> Access:
    """Return the access of the file's current context. Raises `UpstreamUnavailable`."""
    config, context = _current(path)
    cluster = _named(config.clusters, context.cluster, "cluster", path).cluster
    user = _User()
    if context.user:
        user = _named(config.users, context.user, "user", path).user
    return _access(cluster, user, path)


def namespace_in(path: Path) -> str:
    """Return the namespace of the file's current context. Raises `UpstreamUnavailable`."""
    return _current(path)[1].namespace or "default"


def _current(path: Path) -> tuple[_Config, _Context]:
    """Return what the file says, and its current context."""
    text = text_in(path)
    try:
        config = _Config.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        line = "" if at is None else f", line {at.line + 1}"
        raise UpstreamUnavailable(f"{path}{line} is not YAML") from None
    except ValidationError as error:
        [first, *_] = error.errors(include_input=False)
        place = ".".join(map(str, first["loc"]))
        raise UpstreamUnavailable(f"{path}: {place}: {first['msg']}") from None
    if not config.current_context:
        raise UpstreamUnavailable(f"{path} has no current-context")
    return config, _named(config.contexts, config.current_context, "context", path).context


def access_by(path: Path | None) -> Access:
    """Return the access by that file, or that of a pod; raises `UpstreamUnavailable`."""
    return in_cluster(otherwise="--kubeconfig") if path is None else by_kubeconfig(path)


def _named(items: Sequence[_Named], name: str, what: str, path: Path) -> _Named:
    for each in items:
        if each.name == name:
            return each
    raise UpstreamUnavailable(f"{path} has no {what} '{name}'")


def _access(cluster: _Cluster, user: _User, path: Path) -> Access:
    if cluster.insecure_skip_tls_verify:
        raise UpstreamUnavailable(
            f"{path}: insecure-skip-tls-verify is not taken; give certificate-authority"
        )
    if cluster.proxy_url:
        raise UpstreamUnavailable(f"{path}: proxy-url is not supported")
    for field, why in _REFUSED_OF_USERS.items():
        if getattr(user, field) is not None:
            raise UpstreamUnavailable(f"{path}: the user {why}{_INSTEAD}")
    try:
        url = URL(cluster.server)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise UpstreamUnavailable(f"{path}: '{cluster.server}' is no URL of an API server")
    pems = [
        _pem(cluster.certificate_authority, cluster.certificate_authority_data, path),
        _pem(user.client_certificate, user.client_certificate_data, path),
        _pem(user.client_key, user.client_key_data, path),
    ]
    token = user.token
    return Access(
        url=url,
        tls=tls(*pems, where=f"in {path}") if url.scheme == "https" else None,
        server_name=cluster.tls_server_name,
        token=token_in(path.parent / user.token_file) if user.token_file else lambda: token,
        again=partial(by_kubeconfig, path),
    )


def _pem(file: str | None, data: str | None, path: Path) -> str | None:
    """Return what stands there in base64, or in a file beside the kubeconfig, or None."""
    if data:
        try:
            return base64.b64decode(data, validate=True).decode(errors="replace")
        except binascii.Error:
            raise UpstreamUnavailable(
                f"{path}: a field that ends with -data is not base64"
            ) from None
    return text_in(path.parent / file) if file else None
