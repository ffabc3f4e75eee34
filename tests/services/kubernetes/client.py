"""A cluster as the tests use it: what they put there, look at, and may be.

    namespace = kubernetes.namespace()
    kubernetes.apply(MANIFEST, namespace)
    kubernetes.delete("ConfigMap", "settings", namespace)

Objects are what is in their YAML. On purpose not the mesh's own client, which it could not then be
caught out by. Everything here blocks, mostly for milliseconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode
from uuid import uuid4

import yaml

from tests.services.kubernetes.asking import Object, Refused, asked, asked_etcd
from tests.services.kubernetes.place import Place, expired

ADMIN: Final = "admin"
"""The user who may do everything."""

_KNOWN_WITHIN: Final = 30  # seconds
_HOUR: Final = 3600  # seconds

_PATCHES: Final = {
    "apply": "application/apply-patch+yaml",
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
}


class Kubernetes:
    """The API server at that place, as the user who may do everything.

    A kind is named with its ``api_version``, where that is not v1; ``namespace`` is None for what
    belongs to the whole cluster. A user is ADMIN, or a service account, as ``namespace/name``.
    """

    def __init__(self, place: Place) -> None:
        self.place: Final = place
        self._kinds: dict[str, Mapping[str, Object]] = {}

    @property
    def url(self) -> str:
        return self.place.url

    # --- objects ---------------------------------------------------------------------------

    def namespace(self, labels: Mapping[str, str] | None = None) -> str:
        """Return the name of a new namespace, which is the test's own."""
        name = f"test-{uuid4().hex[:12]}"
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        )
        return name

    def apply(self, objects: str | Object, namespace: str | None = None) -> list[Object]:
        """Create these objects, or change them to be so, and return them as they are now.

        ``objects`` is one, or YAML. What does not say its namespace goes into that one. A kind
        that was defined just now is waited for.
        """
        given = [objects] if isinstance(objects, dict) else list(yaml.safe_load_all(objects))
        applied = []
        for each in filter(None, given):
            meta = each["metadata"]
            path = self._path(each["apiVersion"], each["kind"], meta.get("namespace", namespace))
            query = {"fieldManager": "tests", "force": "true"}
            target = f"{path}/{meta['name']}?{urlencode(query)}"
            applied.append(self.ask("PATCH", target, each, type=_PATCHES["apply"]))
        return applied

    def create(self, found: Object, namespace: str | None = None) -> Object:
        """Create the object, with all that belongs to it; Refused says that there is one."""
        return self.ask("POST", self._path(found["apiVersion"], found["kind"], namespace), found)

    def get(
        self, kind: str, name: str, namespace: str | None = None, *, api_version: str = "v1"
    ) -> Object | None:
        """Return the object, or None where there is none."""
        try:
            return self.ask("GET", f"{self._path(api_version, kind, namespace)}/{name}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(
        self, kind: str, namespace: str | None = None, *, api_version: str = "v1"
    ) -> Sequence[Object]:
        """Return all objects of the kind in the namespace: in all of them, where it is None."""
        found: Sequence[Object] = self.ask("GET", self._path(api_version, kind, namespace))["items"]
        return found

    def patch(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        patch: object,
        *,
        api_version: str = "v1",
        subresource: str = "",
    ) -> Object:
        """Change the object: by merging a mapping, or by the operations of a JSON patch."""
        path = f"{self._path(api_version, kind, namespace)}/{name}"
        target = f"{path}/{subresource}" if subresource else path
        by = _PATCHES["merge" if isinstance(patch, Mapping) else "json"]
        return self.ask("PATCH", target, patch, type=by)

    def delete(
        self, kind: str, name: str, namespace: str | None = None, *, api_version: str = "v1"
    ) -> Object:
        """Delete the object, without a time in which it may end."""
        path = f"{self._path(api_version, kind, namespace)}/{name}"
        return self.ask("DELETE", path, {"gracePeriodSeconds": 0})

    def compact(self) -> None:
        """Forget all that was: versions from before are 410 Gone.

        Of PodTemplates at once. Of other kinds the API server remembers what it has seen, and
        forgets that when it is started anew.
        """
        anything = asked_etcd(self.place, "/v3/kv/range", {"key": "AA=="})
        revision = anything["header"]["revision"]
        asked_etcd(self.place, "/v3/kv/compaction", {"revision": revision, "physical": True})

    # --- users -----------------------------------------------------------------------------

    def allow(
        self, user: str, rules: Sequence[Object], *, namespaces: Sequence[str] | None = None
    ) -> None:
        """Let the service account do that, as RBAC says it: in these namespaces, or everywhere."""
        within, _, account = user.partition("/")
        name = f"{within}-{account}"
        of = "ClusterRole" if namespaces is None else "Role"
        api_version = "rbac.authorization.k8s.io/v1"
        where: Sequence[str | None] = [None] if namespaces is None else namespaces
        for each in where:
            common = {"apiVersion": api_version, "metadata": {"name": name}}
            self.apply({**common, "kind": of, "rules": [*rules]}, each)
            bound = {
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": of, "name": name},
                "subjects": [{"kind": "ServiceAccount", "namespace": within, "name": account}],
            }
            self.apply({**common, "kind": f"{of}Binding", **bound}, each)

    def token(self, user: str) -> str:
        """Return a token, for an hour where it is a service account's, which is made if need be."""
        if user == ADMIN:
            return self.place.token
        namespace, _, name = user.partition("/")
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}, namespace
        )
        path = f"{self._path('v1', 'ServiceAccount', namespace)}/{name}/token"
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _HOUR},
        }
        token: str = self.ask("POST", path, asked)["status"]["token"]
        return token

    def expired_token(self, user: str) -> str:
        """Return a token of the service account that was valid until an hour ago."""
        return expired(self.token(user), self.place)

    def kubeconfig(self, user: str = ADMIN, *, url: str | None = None) -> Path:
        """Return a new kubeconfig of that user, whose token is in the file ``.token`` beside it.

        ``url`` is another way to the server.
        """
        path = Path(self.place.folder, f"kubeconfig-{uuid4()}")
        token = path.with_suffix(".token")
        token.write_text(self.token(user))
        cluster = {"server": url or self.url, "certificate-authority": str(self.place.authority)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": user, "user": {"tokenFile": str(token)}}],
        }
        path.write_text(json.dumps(config))
        return path

    # --- HTTP ------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Return whether the server says that it is ready."""
        try:
            asked(self.place, "GET", "/readyz")
        except (OSError, Refused):
            return False
        return True

    def ask(
        self, method: str, path: str, body: object = None, *, type: str = "application/json"
    ) -> Object:
        """Return what the server answers to a request, or raise `Refused`."""
        answer: Object = json.loads(asked(self.place, method, path, body, type=type))
        return answer

    def _path(self, api_version: str, kind: str, namespace: str | None) -> str:
        """Return the path of all objects of the kind in the namespace, once there is the kind."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        deadline = time.monotonic() + _KNOWN_WITHIN
        while (found := self._kinds.get(root, {}).get(kind)) is None:
            if time.monotonic() > deadline:
                raise LookupError(f"there is no {kind} of {api_version}")
            self._kinds[root] = dict(self._discovered(root))
        within = f"/namespaces/{namespace}" if namespace and found["namespaced"] else ""
        return f"{root}{within}/{found['name']}"

    def _discovered(self, root: str) -> Iterator[tuple[str, Object]]:
        try:
            resources = self.ask("GET", root)["resources"]
        except Refused as refused:
            if refused.status != 404:
                raise
            time.sleep(0.05)
            return
        for each in resources:
            if "/" not in each["name"]:
                yield each["kind"], each
