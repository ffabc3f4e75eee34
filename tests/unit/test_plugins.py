"""Plug-ins are found by what they are installed for, and imported when asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker import plugins
from broker.errors import PluginNotFound

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with one module and these lines of entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, code: str, *points: str, group: str = "cemesh.channels") -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *points]))
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / name)  # another path: what is installed is new

    return install


def test_our_own_plugins_are_found_like_any_others() -> None:
    assert plugins.sinks("http").__name__ == "HttpSinks"
    assert plugins.source("PingSource").api_versions == ("sources.knative.dev/v1",)
    assert plugins.channel_backend("memory").__name__ == "MemoryBackend"


def test_brokers_are_a_destination_without_a_plugin() -> None:
    assert {"broker", "http", "https"} <= plugins.sink_schemes()


def test_a_plugin_of_somebody_else_is_found(install: Install) -> None:
    install("carrier", "class Pigeon: pass", "pigeon = carrier:Pigeon")

    assert "pigeon" in plugins.channel_schemes()
    assert plugins.channel_backend("pigeon").__name__ == "Pigeon"


def test_what_is_installed_is_known_without_importing_it(install: Install) -> None:
    install("lazy", "raise SystemExit", "Sloth = lazy:Sloth", group="cemesh.sources")

    assert "Sloth" in plugins.source_kinds()
    assert "lazy" not in sys.modules


def test_schemes_are_of_one_channel_if_the_same_plugin_serves_them(install: Install) -> None:
    install("birds", "", "pigeon = birds:Pigeon", "pigeons = birds:Pigeon", "owl = birds:Owl")

    assert plugins.is_one_channel("pigeon", "pigeons")
    assert not plugins.is_one_channel("pigeon", "owl")
    assert not plugins.is_one_channel("raven", "crow"), "nothing is installed for either"
    assert plugins.is_one_channel("raven", "raven")


def test_an_unknown_scheme_is_refused_with_what_is_installed() -> None:
    with pytest.raises(PluginNotFound) as caught:
        plugins.sinks("htp")

    assert str(caught.value).startswith(
        "no sink is installed for the scheme 'htp' (did you mean 'http'?); installed: http, https"
    )


def test_an_unknown_kind_of_source_is_refused() -> None:
    with pytest.raises(PluginNotFound, match=r"no source is installed for the kind 'Pingsource'"):
        plugins.source("Pingsource")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("", "AttributeError: module 'broken' has no attribute 'Broken'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_fails_to_import_is_told_with_its_reason(
    install: Install, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    install("broken", code, "broken = broken:Broken")
    monkeypatch.delitem(sys.modules, "broken", raising=False)

    with pytest.raises(PluginNotFound) as caught:
        plugins.channel_backend("broken")

    assert "the channel 'broken' is installed (broken:Broken of broken)" in str(caught.value)
    assert why in str(caught.value)


def test_a_plugin_that_two_distributions_register_alike_is_one(install: Install) -> None:
    install("renamed", "class Pigeon: pass", "twin = renamed:Pigeon")
    install("renamed_before", "", "twin = renamed:Pigeon")

    assert plugins.channel_backend("twin").__name__ == "Pigeon"


def test_two_plugins_for_one_scheme_are_refused_by_name(install: Install) -> None:
    install("first", "class One: pass", "same = first:One")
    install("second", "class Two: pass", "same = second:Two")

    with pytest.raises(PluginNotFound, match="first:One of first and second:Two of second"):
        plugins.channel_backend("same")


def test_what_a_plugin_misses_is_told_with_the_extra_that_brings_it(install: Install) -> None:
    install("carrier", "", "owl = carrier:Owl [owls,nests]")
    install("other", "import nowhere_to_be_found", "pigeon = other:Pigeon [pigeons]")

    with pytest.raises(PluginNotFound) as missing:
        plugins.channel_backend("pigeon")
    with pytest.raises(PluginNotFound) as broken:
        plugins.channel_backend("owl")

    assert str(missing.value).endswith(
        "No module named 'nowhere_to_be_found'; install it: pip install 'other[pigeons]'"
    )
    assert "pip" not in str(broken.value), "nothing is missing"
