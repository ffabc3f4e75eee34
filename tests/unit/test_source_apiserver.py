"""ApiServerSource without an API server: what its spec and a kubeconfig may say."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.connections.kubernetes.access import Access, in_cluster
from broker.connections.kubernetes.kubeconfig import by_kubeconfig
from broker.errors import UpstreamUnavailable
from broker.manifest import load
from sources.apiserver import ApiServerSpec
from sources.apiserver.spec import LabelSelector
from tests.services.certificates import make_certificates

PAGE = Path(__file__, "../../../docs/sources/ApiServerSource.md").resolve()
BROKER = """
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
"""
PODS: Mapping[str, object] = {"apiVersion": "v1", "kind": "Pod"}


# --- specs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"resources": []}, "resources: List should have at least 1 item"),
        ({"resources": [{**PODS, "apiVersion": "V 1"}]}, "'V 1' is no apiVersion, like v1"),
        ({"resources": [{**PODS, "kind": "pods/status"}]}, "'pods/status' is no kind, like Pod"),
        ({"mode": "Ref"}, "mode: Input should be 'Reference' or 'Resource'"),
        ({"filters": [{"cesql": "name ="}]}, "filters.0.cesql: "),
        ({"filters": [{}]}, "filters.0: Value error, no dialect found"),
        ({"retries": 1}, "retries: Extra inputs are not permitted"),
        (
            {"namespaceSelector": {"matchLabels": {"a": "b,c"}}},
            "'b,c' can be in no label",
        ),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "'values' is empty, which 'In' compares with",
        ),
        (
            {
                "namespaceSelector": {
                    "matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]
                }
            },
            "'Exists' takes no 'values'",
        ),
    ],
)
def test_what_a_spec_may_not_say_is_said(spec: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ApiServerSpec.model_validate({"resources": [PODS], **spec})

    [error] = caught.value.errors()
    assert why in f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def test_a_selector_is_asked_for_as_the_api_server_takes_it() -> None:
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["x", "y"]},
                {"key": "tier", "operator": "NotIn", "values": ["z"]},
                {"key": "example.com/on", "operator": "Exists"},
                {"key": "off", "operator": "DoesNotExist"},
            ],
        }
    )

    assert selector.query == "a=1,b=2,tier in (x,y),tier notin (z),example.com/on,!off"


def test_the_manifest_of_the_page_is_taken(tmp_path: Path) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "mesh.yaml"
    file.write_text(shown[0] + BROKER)

    [source] = load([file]).desired.sources.values()

    assert isinstance(source.spec, ApiServerSpec)


# --- access ----------------------------------------------------------------------------------


def read(folder: Path, *, cluster: object = None, user: object = None, **others: object) -> Access:
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://k8s.test:6443/base"}}],
        "users": [{"name": "u", "user": user or {}}],
        **others,
    }
    (folder / "config").write_text(json.dumps(config))
    return by_kubeconfig(folder / "config")


def test_a_kubeconfig_says_where_the_cluster_is_and_who_we_are(tmp_path: Path) -> None:
    certificates = make_certificates()
    (tmp_path / "ca.pem").write_text(certificates.authority)
    (tmp_path / "token").write_text("from-a-file\n")
    client = certificates.client

    by_token = read(tmp_path, user={"token": "swordfish"})
    by_file = read(
        tmp_path,
        cluster={"server": "https://k8s.test", "certificate-authority": "ca.pem"},
        user={"tokenFile": "token"},
    )
    by_certificate = read(
        tmp_path,
        user={
            "client-certificate-data": base64.b64encode(client.certificate.encode()).decode(),
            "client-key-data": base64.b64encode(client.key.encode()).decode(),
        },
    )

    assert (str(by_token.url), by_token.token()) == ("https://k8s.test:6443/base", "swordfish")
    assert by_file.token() == "from-a-file"
    assert by_file.tls is not None
    assert len(by_file.tls.get_ca_certs()) == 1
    assert by_certificate.token() is None
    (tmp_path / "token").write_text("rotated")
    assert by_file.token() == "rotated"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"user": {"exec": {"command": "aws"}}}, "gets its credentials from another program"),
        (
            {"user": {"auth-provider": {"name": "oidc"}}},
            "gets its credentials by an 'auth-provider'",
        ),
        ({"user": {"username": "me"}}, "has a password"),
        ({"user": {"client-certificate": "none.pem"}}, "none.pem cannot be read: No such file"),
        ({"user": {"client-key-data": "*"}}, "ends with -data is not base64"),
        ({"user": {"client-key-data": "eA=="}}, "a client certificate and its key"),
        (
            {"cluster": {"server": "https://k", "certificate-authority-data": "eA=="}},
            "holds no certificates in PEM format",
        ),
        ({"cluster": {"server": "k8s.test"}}, "'k8s.test' is no URL of an API server"),
        (
            {"cluster": {"server": "https://k", "insecure-skip-tls-verify": True}},
            "insecure-skip-tls-verify is not taken; give certificate-authority",
        ),
        (
            {"cluster": {"server": "https://k", "proxy-url": "http://p"}},
            "proxy-url is not supported",
        ),
        ({"current-context": ""}, "has no current-context"),
        ({"current-context": "there"}, "has no context 'there'"),
        ({"clusters": []}, "has no cluster 'c'"),
        ({"users": []}, "has no user 'u'"),
        ({"clusters": [{"name": "c"}]}, "clusters.0.cluster: Field required"),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_is_refused_in_words(
    tmp_path: Path, config: dict[str, object], why: str
) -> None:
    with pytest.raises(UpstreamUnavailable, match=re.escape(why)) as caught:
        read(tmp_path, **config)

    assert str(tmp_path) in str(caught.value)


def test_what_is_no_kubeconfig_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a: 1\nb: [")

    with pytest.raises(UpstreamUnavailable, match="config, line 2 is not YAML"):
        by_kubeconfig(tmp_path / "config")


def test_outside_of_a_cluster_it_is_said_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(UpstreamUnavailable, match=r"spec\.kubeconfig says which one is meant"):
        in_cluster()


def test_an_empty_token_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("")

    access = read(tmp_path, user={"tokenFile": "token"})

    with pytest.raises(UpstreamUnavailable, match="token holds no token"):
        access.token()
