"""Resolves destinations: a reference or a URI, to the URL that events are sent to."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final
from urllib.parse import urljoin, urlsplit

from broker import plugins
from broker.errors import PluginNotFound, did_you_mean
from broker.manifest.kinds import is_sink, wanted_versions
from broker.manifest.objects import Place
from broker.manifest.shapes import Destination, Reference
from broker.trigger import SinkObject, Target

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_NOT_IN_A_URL: Final = re.compile(r"[^!-~]")
CLUSTER_DOMAIN: Final = "cluster.local"
_BROKER_GROUP: Final = "eventing.knative.dev"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an object of a cluster takes events, as it says itself (Knative's Addressable)."""

    url: str
    ca_certs: str | None = None
    audience: str | None = None


Lookup = Callable[[Reference, str], "Address | str | None"]
"""Return the address of the object that a reference names, seen from that namespace.

Or, in words, what it lacks; or None where that object is not to be looked up.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """How what is not in the manifests is found.

    ``resolve`` maps ``Kind/namespace/name`` to the URL that stands for it. A cluster has
    ``domain``, and a ``look_up`` where it can be asked. Kinds of sink that are ``left`` to others
    are looked up as any other kind is. Of sources of kinds that are ``deployed``, the cluster runs
    what they describe.
    """

    resolve: Mapping[str, str] = field(default_factory=dict)
    domain: str = CLUSTER_DOMAIN
    look_up: Lookup | None = None
    left: Collection[str] = ()
    deployed: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What destinations may refer to.

    ``brokers`` are the keys of the brokers in the manifests, ``schemes`` can be sent to. ``sinks``
    are those of the manifests, by ``Kind namespace/name``: None where one is there, but wrong.
    """

    brokers: Collection[str]
    elsewhere: Elsewhere
    schemes: Collection[str]
    sinks: Mapping[str, SinkObject | None]

    def require_broker(self, key: str, place: Place) -> None:
        """Report at ``place`` that there is no broker of that key, unless there is one."""
        if key in self.brokers or not place.report.complete:
            return
        namespace, _, name = key.partition("/")
        here = [other.partition("/") for other in self.brokers]
        hint = did_you_mean(name, [other for space, _, other in here if space == namespace])
        elsewhere = sorted(space for space, _, other in here if other == name)
        if not hint and elsewhere:
            hint = f" (there is one in the namespace '{elsewhere[0]}')"
        place.error(
            f"no Broker '{name}' in the namespace '{namespace}' of {place.report.where}{hint}"
        )


def target(destination: Destination, place: Place, directory: Directory) -> Target | None:
    """Return where ``destination`` leads, or report why it leads nowhere and return None."""
    if (found := _sink(destination, place, directory)) is not None:
        return found[0]
    address = _address(destination, place, directory)
    if destination.ca_certs is not None:
        fault = _pem_fault(destination.ca_certs)
        if fault:
            place.at("CACerts").error(fault)
    if address is None:
        return None
    authorities = [each for each in (address.ca_certs, destination.ca_certs) if each]
    return Target(
        url=address.url,
        ca_certs="\n".join(authorities) or None,
        audience=destination.audience or address.audience,
    )


def _sink(
    destination: Destination, place: Place, directory: Directory
) -> tuple[Target | None] | None:
    """Return the sink that ``destination`` refers to; None where it refers to something else."""
    ref = destination.ref
    if ref is None or not is_sink(ref.kind) or ref.kind in directory.elsewhere.left:
        return None
    key = f"{ref.namespace or place.object.namespace}/{ref.name}"
    if f"{ref.kind}/{key}" in directory.elsewhere.resolve:
        return None
    at_ref = place.at("ref")
    try:
        versions = wanted_versions(ref.kind)
    except PluginNotFound as error:
        at_ref.at("kind").error(str(error))
        return (None,)
    if ref.api_version not in versions:
        at_ref.at("apiVersion").error(f"a {ref.kind} is of {' or '.join(versions)}")
    for name, given in (
        ("uri", destination.uri),
        ("CACerts", destination.ca_certs),
        ("audience", destination.audience),
    ):
        if given is not None:
            place.at(name).error(f"means nothing to a {ref.kind}, which says all of it itself")
    name = f"{ref.kind} {key}"
    if name not in directory.sinks and place.report.complete:
        at_ref.error(f"no {name} in {place.report.where}{did_you_mean(name, directory.sinks)}")
    found = directory.sinks.get(name)
    return (None if found is None else Target(url=found.url, sink=found),)


def _address(destination: Destination, place: Place, directory: Directory) -> Address | None:
    ref, uri = destination.ref, destination.uri
    if ref is None:
        url = None if uri is None else _checked(uri, place.at("uri"), directory)
        return None if url is None else Address(url=url)
    if uri is not None and _SCHEME.match(uri):
        place.at("uri").error("absolute URI is not allowed when 'ref' is present")
        return None
    base = _of_object(ref, place.at("ref"), directory)
    if base is None or uri is None:
        return base
    if urlsplit(base.url).scheme not in ("http", "https"):
        place.at("uri").error(f"cannot be joined to {base.url}, which takes no path")
        return None
    try:
        joined = urljoin(base.url, uri)
    except ValueError:
        place.at("uri").error(f"'{uri}' is not a URL")
        return None
    url = _checked(joined, place.at("uri"), directory)
    return None if url is None else replace(base, url=url)


def _of_object(ref: Reference, place: Place, directory: Directory) -> Address | None:
    """Return the address of the object that ``ref`` names."""
    elsewhere = directory.elsewhere
    namespace = ref.namespace or place.object.namespace
    key = f"{namespace}/{ref.name}"
    url = elsewhere.resolve.get(f"{ref.kind}/{key}")
    if url is None and ref.kind == "Broker":
        if ref.api_version.rpartition("/")[0] != _BROKER_GROUP:
            place.at("apiVersion").error(f"a Broker is of {_BROKER_GROUP}/v1")
            return None
        if key in directory.brokers:
            return Address(url=f"broker://{key}")
    found = None
    if url is None and elsewhere.look_up is not None:
        found = elsewhere.look_up(ref, namespace)
    if url is None and found is None and ref.kind == "Broker":
        directory.require_broker(key, place)
        return Address(url=f"broker://{key}")
    if isinstance(found, str):
        place.error(found)
        return None
    if found is None:
        if url is None and ref.kind == "Service":
            return Address(url=f"http://{ref.name}.{namespace}.svc.{elsewhere.domain}")
        if url is None:
            place.error(
                f"the address of a {ref.kind} is not known here; say "
                f"--resolve {ref.kind}/{key}=URL, or use 'uri'"
            )
            return None
        found = Address(url=url)
    return found if _checked(found.url, place, directory) else None


def _checked(url: str, place: Place, directory: Directory) -> str | None:
    """Return ``url`` if events can be sent there, else report why not."""
    fault = _url_fault(url, directory.schemes) or _sink_fault(url)
    if fault:
        place.error(fault)
        return None
    if url.startswith("broker:"):
        directory.require_broker(url.removeprefix("broker://"), place)
    return url


def _url_fault(url: str, schemes: Collection[str]) -> str | None:
    found = _NOT_IN_A_URL.search(url)
    if found:
        return f"U+{ord(found[0]):04X} at character {found.start() + 1} cannot stand in a URL"
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
    except ValueError:
        return f"'{url}' is not a URL"
    if not parts.scheme:
        return f"'{url}' is not absolute; it has to start with a scheme such as http://"
    if parts.scheme not in schemes:
        known = ", ".join(sorted(schemes))
        return (
            f"nothing is installed that sends to '{parts.scheme}:' URLs"
            f"{did_you_mean(parts.scheme, schemes)}; installed: {known}"
        )
    if parts.scheme in ("http", "https") and (not parts.hostname or port_is_wrong):
        return f"'{url}' has no {'host' if not parts.hostname else 'port that can be reached'}"
    if parts.scheme == "broker" and not re.fullmatch(r"broker://[^/?#]+/[^/?#]+", url):
        return f"'{url}' is not of the form broker://NAMESPACE/NAME"
    return None


def _sink_fault(url: str) -> str | None:
    """Return what the sink itself has against the URL."""
    scheme = urlsplit(url).scheme
    if scheme == plugins.BROKER_SCHEME:
        return None
    try:
        return plugins.sinks(scheme).check(Target(url=url))
    except PluginNotFound as error:
        return str(error)


@lru_cache(maxsize=64)
def _pem_fault(text: str) -> str | None:
    # Often the same authority in every destination, and reading it is slow. Bundles carry
    # comments between the certificates, and not always in ASCII.
    ascii_text = text.encode("ascii", "replace").decode("ascii")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ascii_text)
    except (ssl.SSLError, ValueError):
        return "not certificates in PEM format"
    return None
