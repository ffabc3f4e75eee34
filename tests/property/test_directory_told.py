"""What a DirectorySource remembers loses no file, however many there are, and however they come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.directory import told as module
from sources.directory.files import Key
from sources.directory.spec import DirectorySpec
from sources.directory.told import Told

SPEC = DirectorySpec.model_validate({"path": "/in"})
MOST = 4

keys = st.tuples(st.integers(0, 12), st.binary(min_size=8, max_size=8))


@pytest.fixture(autouse=True, scope="module")
def few() -> Iterator[None]:
    with patch.object(module, "_MOST", MOST), patch.object(module, "_SEEN_WITHIN_NS", 2):
        yield


def told(*some: Key) -> Told:
    made = Told(SPEC)
    for key in some:
        made.add(key)
    return made


def restored(place: object, spec: DirectorySpec = SPEC) -> Told:
    again = Told(spec)
    again.restore(json.loads(json.dumps(place)))
    return again


@given(st.sets(keys, min_size=MOST + 1), st.sets(keys), st.integers(0, 12), st.sets(keys))
def test_what_was_not_told_is_never_taken_for_told_after_a_restart(
    done: set[Key], untold: set[Key], seen_ns: int, later: set[Key]
) -> None:
    untold -= done
    later = {key for key in later if key[0] >= seen_ns - 2} - done  # it was yet to be seen

    again = restored(told(*done).place(untold, seen_ns))
    again.are_there(done | untold | later, all=True)

    assert not [key for key in untold | later if key in again]


@given(st.sets(keys, max_size=MOST), st.integers(0, 20))
def test_few_that_were_told_are_all_known_whatever_the_clock_says(
    done: set[Key], seen_ns: int
) -> None:
    again = restored(told(*done).place(set(), seen_ns))

    assert all(key in again for key in done)


@given(st.sets(keys))
def test_many_that_were_told_are_all_known_once_they_have_been_there_for_a_while(
    done: set[Key],
) -> None:
    place = told(*done).place(set(), 100)

    again = restored(place)
    again.are_there(set(), all=True)  # nothing is mounted yet
    assert again.place(set(), 200) == place
    again.are_there(done, all=True)

    assert all(key in again for key in done)


@given(st.sets(keys, min_size=MOST + 1), st.sets(keys))
def test_as_many_are_taken_for_told_as_before_while_not_all_that_is_there_is_known(
    done: set[Key], more: set[Key]
) -> None:
    it = told(*done)
    before = restored(it.place(set(), 8))
    for key in more:
        it.add(key)
    again = restored(it.place(set(), None))

    unknown = {(ctime, b"unknown.") for ctime in range(13)}
    for each in (before, again):
        each.are_there(unknown, all=False)

    assert [key in again for key in unknown] == [key in before for key in unknown]


@given(st.sets(keys, min_size=1, max_size=MOST))
def test_few_that_are_not_there_for_once_are_known_when_they_are_there_again(
    done: set[Key],
) -> None:
    it = told(*done)

    it.are_there({(0, b"another.")}, all=True)

    assert all(key in it for key in done)


@given(st.sets(keys))
def test_for_another_pattern_none_is_taken_for_told_that_is_not_known_by_itself(
    done: set[Key],
) -> None:
    other = DirectorySpec.model_validate({"path": "/in", "pattern": "*.csv"})

    again = restored(told(*done).place(set(), 100), other)
    again.are_there({(0, b"another."), (1, b"a third.")}, all=False)

    assert (0, b"another.") not in again
    assert (1, b"a third.") not in again
