"""Which files are a manifest's, and noticing that they changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from broker.manifest import changes, watch
from broker.manifest.files import files_of_tests, manifest_files

INTERVAL = timedelta(milliseconds=20)
DEADLINE = 30.0


def relative(folder: Path, *paths: Path) -> list[str]:
    return [str(Path(str(each)).relative_to(folder)) for each in manifest_files(paths)]


def test_a_folder_stands_for_its_manifests_sorted_and_those_below(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c/d.json", "c/.hidden.yaml", ".git/x.yaml", "readme.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    assert relative(tmp_path, tmp_path) == ["a.yml", "b.yaml", "c/d.json"]


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / ".mesh"
    path.touch()

    assert relative(tmp_path, path) == [".mesh"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.touch()

    assert relative(tmp_path, path, tmp_path, path) == ["mesh.yaml"]


def test_folders_that_link_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mesh.yaml").touch()
    (tmp_path / "a" / "b").symlink_to(tmp_path, target_is_directory=True)

    assert relative(tmp_path, tmp_path) == ["a/mesh.yaml"]


def test_tests_and_what_is_there_for_them_are_left_out_of_a_folder(tmp_path: Path) -> None:
    for name in ("mesh.yaml", "a_test.yaml", "b_test.yml", "c_test.json", "testdata/order.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    assert relative(tmp_path, tmp_path) == ["mesh.yaml"]


def test_tests_are_found_where_manifests_are(tmp_path: Path) -> None:
    for name in ("a_test.yaml", "mesh.yaml", "c/d_test.json", "c/d_test.txt", ".git/x_test.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    found = [str(each) for each in files_of_tests([tmp_path, tmp_path / "a_test.yaml"])]

    assert found == [f"{tmp_path}/a_test.yaml", f"{tmp_path}/c/d_test.json"]


def rewrite(folder: Path) -> None:
    (folder / "mesh.yaml").write_text("b")


def replace(folder: Path) -> None:
    (folder / "new").write_text("a")
    (folder / "new").replace(folder / "mesh.yaml")


def add(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "other.yaml").touch()


def remove(folder: Path) -> None:
    (folder / "mesh.yaml").unlink()


def keep_the_times(folder: Path) -> None:
    path = folder / "mesh.yaml"
    before = path.stat()
    path.write_text("b")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [rewrite, replace, add, remove, keep_the_times])
async def test_a_change_of_the_files_is_noticed(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    (tmp_path / "mesh.yaml").write_text("a")
    watched = changes([tmp_path], interval=INTERVAL)

    change(tmp_path)

    await noticed(watched)


async def test_the_link_swap_of_a_configmap_volume_is_noticed(tmp_path: Path) -> None:
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "mesh.yaml").write_text("a")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "mesh.yaml").symlink_to("..data/mesh.yaml")
    watched = changes([tmp_path], interval=INTERVAL)

    (tmp_path / "..data.new").symlink_to("..2")
    (tmp_path / "..data.new").replace(tmp_path / "..data")

    await noticed(watched)


async def test_a_change_while_the_last_one_was_being_handled_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text("a")
    watched = changes([tmp_path], interval=INTERVAL)
    path.write_text("bb")
    await noticed(watched)

    path.write_text("ccc")

    await noticed(watched)


async def test_files_that_stay_as_they_are_are_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mesh.yaml").write_text("a")
    looks: list[watch.Fingerprint] = []

    def look(paths: Sequence[Path]) -> watch.Fingerprint:
        looks.append(fingerprint(paths))
        return looks[-1]

    fingerprint = watch.fingerprint
    monkeypatch.setattr(watch, "fingerprint", look)
    waiting = asyncio.ensure_future(anext(changes([tmp_path], interval=timedelta(milliseconds=1))))

    async with asyncio.timeout(DEADLINE):
        while len(looks) < 10:
            await asyncio.sleep(0.001)

    assert not waiting.done()
    waiting.cancel()


async def test_files_that_keep_changing_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [((name, 0, 0, 0, 0),) for name in ("as it was", "half", "whole", "whole")]
    left = iter(looks)
    monkeypatch.setattr(watch, "fingerprint", lambda _: next(left))

    await noticed(changes([], interval=timedelta(0)))

    assert list(left) == []


async def noticed(watched: AsyncIterator[None]) -> None:
    async with asyncio.timeout(DEADLINE):
        await anext(watched)
