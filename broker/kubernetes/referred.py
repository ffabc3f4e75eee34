"""Looks up what objects of the mesh refer to: ConfigMaps, Secrets, and whatever takes events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from broker.connections.kubernetes import api
from broker.connections.kubernetes.collections import Collection, Object
from broker.connections.kubernetes.mirror import Mirror, essence_of
from broker.connections.kubernetes.refusals import Refused
from broker.errors import UpstreamUnavailable
from broker.kubernetes.addresses import addressable_essence, of_addressable, of_service
from broker.kubernetes.mirrors import Mirrors
from broker.manifest.destinations import Address, Lookup
from broker.manifest.needs import Need
from broker.manifest.shapes import Reference

_BY_NAME: Final = {("v1", "ConfigMap"): "configmaps", ("v1", "Secret"): "secrets"}
"""What is read by its name alone, so that a Role can name those that may be read."""

_SERVICE: Final = ("v1", "Service")
_KNOWN: Final = {**_BY_NAME, _SERVICE: "services"}
_REFUSALS: Final = frozenset({403, 404})
"""Statuses that are an answer: others pass."""

Answer = Address | str
"""Where something takes events, or why that is not known."""


class Referred:
    """What is needed by now, each in a mirror: those by name, and those of a namespace together."""

    def __init__(self, mirrors: Mirrors, domain: str) -> None:
        self._mirrors = mirrors
        self._domain = domain
        self._wanted: dict[Need, Mirror | str] = {}  # or why there is none
        self._running: dict[Collection, Mirror] = {}
        self._unasked: set[Need] = set()

    @property
    def wanted(self) -> AbstractSet[Need]:
        return self._wanted.keys()

    async def want(self, needs: Iterable[Need]) -> None:
        """Have these mirrored, too, and those that could not be asked for before.

        What is broken off meanwhile counts as not asked for yet.
        """
        wanted = {*needs, *self._unasked}
        for each in wanted - self._wanted.keys():
            self._wanted[each] = "is being looked up"
            self._unasked.add(each)
        for api_version, of_version in _by_version(wanted).items():
            try:
                kinds = await self._kinds(api_version, of_version)
            except UpstreamUnavailable as error:
                for each in of_version:
                    self._wanted[each] = str(error)
                self._unasked |= of_version
            else:
                self._wanted |= {each: self._begun(each, kinds) for each in of_version}
                self._unasked -= of_version

    def keep(self, needs: AbstractSet[Need]) -> None:
        """Stop mirroring what is not among these."""
        self._wanted = {need: each for need, each in self._wanted.items() if need in needs}
        self._unasked &= needs
        still = {each.of for each in self._wanted.values() if isinstance(each, Mirror)}
        for of in self._running.keys() - still:
            self._mirrors.end(self._running.pop(of))

    async def again(self) -> bool:
        """Look once more for the kinds that were missing; return whether one is there now."""
        missing = [need for need, each in self._wanted.items() if isinstance(each, str)]
        await self.want(missing)
        return any(isinstance(self._wanted.get(each), Mirror) for each in missing)

    def awaited(self) -> Sequence[str] | None:
        """Return why something is not known that was not refused; None where all is known."""
        if self._unasked:
            return [str(self._wanted[each]) for each in self._unasked]
        waits = [
            each
            for each in self._wanted.values()
            if isinstance(each, Mirror) and not each.synced and not _is_refused(each)
        ]
        return [str(each.trouble) for each in waits if each.trouble] if waits else None

    def objects(self) -> Iterator[Object]:
        """Yield the ConfigMaps and Secrets that are there."""
        for mirror in self._running.values():
            if mirror.of.name is not None:
                yield from mirror.essences.values()

    def unknown(self) -> Mapping[str, str]:
        """Return by ``Kind namespace/name`` why it is not known whether that is there."""
        return {
            need.subject: each if isinstance(each, str) else _why(each)
            for need, each in self._wanted.items()
            if isinstance(each, str) or not each.synced
        }

    def lookup(self, needs: set[Need]) -> Lookup:
        """Return what tells any thread what is known by now, and notes what it is asked for."""
        answers = {need: self._answer(need) for need in self._wanted}

        def look_up(ref: Reference, namespace: str) -> Answer:
            need = Need(ref.api_version, ref.kind, namespace, ref.name)
            needs.add(need)
            return answers.get(need, "is being looked up")

        return look_up

    # --- one of them -----------------------------------------------------------------------

    async def _kinds(self, api_version: str, needs: Iterable[Need]) -> Mapping[str, api.Named]:
        """Return what the API server has of that version, unless that is known of all of these."""
        if all((api_version, each.kind) in _KNOWN for each in needs):
            return {}
        return await api.kinds_of(self._mirrors.access, api_version)

    def _begun(self, need: Need, kinds: Mapping[str, api.Named]) -> Mirror | str:
        of_type = (need.api_version, need.kind)
        name = need.name if of_type in _BY_NAME else None
        if of_type in _KNOWN:
            plural, is_namespaced = _KNOWN[of_type], True
        elif need.kind in kinds:
            plural, is_namespaced = kinds[need.kind]
        else:
            return api.no_kind(need.api_version, need.kind)
        of = Collection(
            api_version=need.api_version,
            kind=need.kind,
            plural=plural,
            namespace=need.namespace if is_namespaced else None,
            name=name,
        )
        is_addressed = name is None and of_type != _SERVICE
        essence = addressable_essence if is_addressed else essence_of
        if of not in self._running:
            self._running[of] = self._mirrors.begin(of, essence=essence)
        return self._running[of]

    def _answer(self, need: Need) -> Answer:
        mirror = self._wanted[need]
        if isinstance(mirror, str):
            return mirror
        found = mirror.objects.get(f"{mirror.of.namespace or ''}/{need.name}")
        if found is None:
            return f"no {need.subject} in this cluster" if mirror.synced else _why(mirror)
        if (need.api_version, need.kind) == _SERVICE:
            return of_service(found, self._domain)
        return of_addressable(found)


def _by_version(needs: Iterable[Need]) -> Mapping[str, set[Need]]:
    found: dict[str, set[Need]] = {}
    for each in needs:
        found.setdefault(each.api_version, set()).add(each)
    return found


def _is_refused(mirror: Mirror) -> bool:
    return isinstance(mirror.trouble, Refused) and mirror.trouble.status in _REFUSALS


def _why(mirror: Mirror) -> str:
    return str(mirror.trouble or "the API server has not told yet")
