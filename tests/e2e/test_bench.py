"""The benchmark: it runs, it counts every event, and it fails where one is missing."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import measured
from bench.ledger import ACCEPTED, REFUSED, UNANSWERED, Arrived, EventsLost, Sent, balance
from bench.measure import Places, collect, load, measure
from bench.page import figures
from bench.processes import Mesh, Process, minimal, processor, sink
from bench.rows import COLUMNS, Baseline, Row, Target, line, row, write
from bench.scenarios.parts import LOOP, by_part
from bench.stage import Stage
from bench.wire import Messages, Mode, Unreadable, encoder, header
from broker.codecs.http import decode
from tests.e2e.manifests import broker

PATH = "/default/default"


# --- what is sent and read ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["binary", "structured", "batch"])
def test_the_mesh_reads_what_the_load_generator_sends(mode: Mode) -> None:
    ids = [b"7-0-123", b"7-1-123"] if mode == "batch" else [b"7-0-123"]
    encode = encoder(mode, path=PATH, kind="bench", size=1024)

    head, _, body = encode(ids).partition(b"\r\n\r\n")

    lines = [each.split(b": ", 1) for each in head.split(b"\r\n")[1:]]
    events = decode([(name, value) for name, value in lines], body)
    assert [each.id.encode() for each in events] == ids
    assert {len(each.data or b"") for each in events} == {1024}
    assert dict(lines)[b"content-length"] == str(len(body)).encode()


def test_messages_are_taken_apart_wherever_they_are_cut() -> None:
    first = b"POST /a HTTP/1.1\r\nCE-Id: 1-2-3\r\nContent-Length: 5\r\n\r\nab\r\n\r"
    stream = first + b"GET /b HTTP/1.1\r\nhost: x\r\n\r\n" + first

    found = set()
    for cut in range(len(stream)):
        messages = Messages()
        heads = [*messages.heads(stream[:cut]), *messages.heads(stream[cut:])]
        found.add(tuple((head[:7], header(head, b"\r\nce-id:")) for head in heads))

    assert found == {((b"post /a", b"1-2-3"), (b"get /b ", None), (b"post /a", b"1-2-3"))}


def test_a_message_of_untold_length_is_refused() -> None:
    with pytest.raises(Unreadable, match="Content-Length"):
        Messages().heads(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


# --- the books ---------------------------------------------------------------------------------


def states(*of_each: int) -> bytes:
    sent = Sent()
    for number, state in enumerate(of_each):
        sent.note(number, state)
    return bytes(sent.states)


def counts(*numbers: int) -> bytes:
    arrived = Arrived()
    for number in numbers:
        arrived.note(number, due=1, now=5)
    return bytes(arrived.counts)


def test_what_was_accepted_and_has_not_arrived_is_missing() -> None:
    found = balance(states(ACCEPTED, ACCEPTED, ACCEPTED), counts(0, 2))

    assert (found.accepted, found.arrived, list(found.missing)) == (3, 2, [1])
    with pytest.raises(EventsLost, match=r"1 of 3 accepted events missing: numbers 1$"):
        found.check("here")


@pytest.mark.parametrize("arrivals", [(0, 1), (0, 70_000)])
def test_what_was_refused_or_never_sent_must_not_arrive(arrivals: tuple[int, ...]) -> None:
    found = balance(states(ACCEPTED, REFUSED), counts(*arrivals))

    assert list(found.uninvited) == list(arrivals[1:])
    with pytest.raises(EventsLost, match="uninvited"):
        found.check("here")


def test_what_was_not_answered_may_arrive_or_not() -> None:
    found = balance(states(ACCEPTED, UNANSWERED, UNANSWERED), counts(0, 1))

    found.check("here")
    assert (found.accepted, found.arrived, found.duplicates) == (1, 2, 0)


def test_arrivals_beyond_the_first_are_duplicates_and_no_latencies() -> None:
    arrived = Arrived()
    for number, now in ((0, 15), (1, 17), (0, 99), (0, 100)):
        arrived.note(number, due=10, now=now)

    found = balance(states(ACCEPTED, ACCEPTED), bytes(arrived.counts))

    found.check("here")
    assert (found.duplicates, arrived.events, list(arrived.latencies)) == (2, 2, [5, 7])


# --- processes ---------------------------------------------------------------------------------

# The minimal loop, that forwards every tenth event so many times.
CLUMSY = """
import itertools, sys, uvloop
from bench import minimal
put, numbers = minimal.Forward.put, itertools.count()
def clumsy(self, request):
    for _ in range(int(sys.argv[3]) if next(numbers) % 10 == 9 else 1):
        put(self, request)
minimal.Forward.put = clumsy
uvloop.run(minimal.serve(int(sys.argv[1]), int(sys.argv[2])))
"""


def clumsy(folder: Path, subscriber: int, times: int) -> Process:
    arguments = (str(subscriber), str(times))
    return Process(
        "clumsy",
        folder / "clumsy.log",
        lambda port: [sys.executable, "-c", CLUMSY, str(port), *arguments],
    )


def test_everything_arrives_and_is_measured(tmp_path: Path) -> None:
    with sink(tmp_path) as there, minimal(tmp_path, there.port) as loop:
        to = Places(sink=there, paths=[PATH])
        sample = measure(loop, tmp_path, to=to, events=500, connections=8)
        timed = measure(loop, tmp_path, to=to, rate=500, seconds=0.4)

    assert (sample.events, sample.duplicates) == (500, 0)
    assert (timed.events, timed.duplicates) == (200, 0)
    assert timed.seconds >= 0.39
    assert 0 < timed.arrivals[0] <= timed.arrivals[1] <= timed.arrivals[2] < 10_000


def test_a_run_in_which_events_are_missing_fails(tmp_path: Path) -> None:
    with sink(tmp_path) as there, clumsy(tmp_path, there.port, 0) as loop:
        to = Places(sink=there, paths=[PATH], patience=2)

        with pytest.raises(EventsLost, match="20 of 200 accepted events missing"):
            measure(loop, tmp_path, to=to, events=200, connections=1)


def test_duplicates_are_counted(tmp_path: Path) -> None:
    with sink(tmp_path) as there, clumsy(tmp_path, there.port, 3) as loop:
        to = Places(sink=there, paths=[PATH])
        loaded = load(loop, tmp_path, events=200, connections=1)
        # The last duplicate may be behind the last first comer.
        deadline = time.monotonic() + 30
        while collect(loaded, to).duplicates < 40 and time.monotonic() < deadline:
            time.sleep(0.02)

        assert collect(loaded, to).duplicates == 40


def test_a_run_in_which_a_request_is_refused_fails(tmp_path: Path) -> None:
    with (
        Mesh(tmp_path / "mesh", broker(), channel="memory:") as mesh,
        pytest.raises(EventsLost, match="404"),
    ):
        measure(mesh, tmp_path, path="/default/other", events=10, connections=1)


def test_latency_of_an_open_loop_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    with sink(tmp_path) as slow:
        asked: dict[str, Any] = {"path": "/after/50/slow", "connections": 1}
        closed = measure(slow, tmp_path, events=6, **asked)
        # Twenty a second is what one connection can do; the last of thirty waits for a second.
        opened = measure(slow, tmp_path, rate=100, seconds=0.3, **asked)

    assert 50 <= closed.answers[0] < 500  # ten times what it takes: no request waits for another
    assert opened.events == 30
    assert opened.answers[1] > 1_000


BURNS = """
import threading, time
def burn():
    while time.thread_time() < 0.2:
        pass
thread = threading.Thread(target=burn)
thread.start()
thread.join()
print("done", flush=True)
input()
"""


def test_the_time_of_threads_that_have_ended_counts() -> None:
    command = [sys.executable, "-c", BURNS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as burnt:
        assert burnt.stdout is not None
        assert burnt.stdout.readline() == b"done\n"

        took = processor(burnt.pid)

        burnt.communicate(b"\n")
    assert 0.2 <= took < 5


def test_a_scenario_in_which_an_event_is_missing_fails_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = row("good", "memory", "case", "ms", [1.0])

    def bad(stage: Stage) -> Iterator[Row]:
        yield from ()
        raise EventsLost("3 of 5 accepted events missing")

    rows, failed = measured(Stage(), {"bad": bad, "good": lambda _: iter([one])}, ["bad", "good"])

    assert (list(rows), list(failed)) == ([one], ["bad"])
    assert "bad FAILED: 3 of 5" in capsys.readouterr().out


# --- results -----------------------------------------------------------------------------------


def test_a_row_has_the_ratio_of_the_medians_and_whether_that_is_enough(tmp_path: Path) -> None:
    costs = Baseline(name="nginx", values=[10.0, 20.0, 11.0])

    found = row(
        *("ingress", "memory", "case", "µs"),
        [20.0, 22.0, 90.0],
        baseline=costs,
        inverse=True,
        target=Target(at_least=0.4),
    )

    assert (found.measured, found.low, found.high, found.rounds) == (22, 20, 90, 3)
    assert (found.baseline_measured, found.ratio) == (11, 0.5)
    assert (found.target, found.met, found.share) == ("≥ 0.4", "yes", 1.25)
    assert "0.50" in line(found)


@pytest.mark.parametrize(
    ("target", "met", "share"),
    [
        (Target(at_least=4), "no", 0.5),
        (Target(at_most=2), "yes", 1.0),
        (Target(at_most=1), "no", 0.5),
        (Target(at_most=5, of_measured=True), "yes", 1.25),
        (Target(at_least=8, of_measured=True), "no", 0.5),
    ],
)
def test_a_target_is_of_the_ratio_or_of_what_was_measured(
    target: Target, met: str, share: float
) -> None:
    base = Baseline(name="alone", values=[2.0])

    found = row("s", "c", "case", "ms", [4.0], baseline=base, target=target)

    assert (found.ratio, found.met, found.share) == (2.0, met, share)


def test_the_time_of_a_thread_goes_to_the_innermost_parts_of_its_samples() -> None:
    main = "process 7:cemesh run;thread (7): MainThread;run (/x/asyncio/runners.py:1);"
    writer = "process 7:cemesh run;thread (9): writer;"
    folded = [
        f"{main}put (/x/broker/ingress/app.py:3) 5",
        f"{main}f (/x/broker/ingress/app.py:3);g (/x/broker/codecs/http.py:1) 3",
        f"{main}f (/x/sinks/http/client.py:3);g (/x/lib/asyncio/queues.py:1) 1",
        f"{main}_run (/x/broker/app/run.py:81) 1",
        f"{writer}write (/x/broker/channels/embedded/store.py:3) 900",
    ]

    found = by_part(folded, {7: 2.0, 9: 0.5, 11: 0.25})

    told = {part: seconds for part, seconds in found.items() if seconds}
    assert told == {"http in": 1.0, "codec": 0.6, "http out": 0.2, "channel": 0.5, LOOP: 0.45}


@pytest.mark.timeout(120)
def test_the_quick_benchmark_runs_and_writes_a_table_and_a_plot(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--rounds", "1", "--seconds", "0.1"]
    finished = subprocess.run(
        [*command, "--output", "results", "ingress", "delivered", "batches"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    [table] = tmp_path.glob("results/*.csv")
    with table.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        rows = list(reader)
    assert reader.fieldnames == list(COLUMNS)
    assert {each["scenario"] for each in rows} >= {"delivered", "batches"}
    for each in rows:
        zero = each["unit"] == "duplicates"
        assert (float(each["measured"]) > 0) != zero, each
        if each["baseline"] and not zero:
            assert float(each["ratio"]) > 0
        assert (each["met"] in ("yes", "no")) == bool(each["target"])
    [plot] = tmp_path.glob("results/*.svg")
    assert plot.read_text().count("<rect") == sum(bool(each["target"]) for each in rows)
    assert not list(tmp_path.glob(".bench-*"))


def test_the_page_shows_the_figures_of_a_table(tmp_path: Path) -> None:
    target = Target(at_least=0.3)
    base = Baseline(name="nginx", values=[10.0])
    rows = [
        row("ingress", "memory", "case", "µs", [40.0], baseline=base, inverse=True, target=target),
        row("ingress", "memory", "case", "events/s", [12_345.0]),
    ]
    table = tmp_path / "of-today.csv"
    write(table, rows, date="2026-01-31T12:00:00Z", commit="0123456789", mode="full")

    shown = figures(table)

    assert "Of 2026-01-31, at commit 0123456789:" in shown
    assert "| ingress | memory | case | 40 µs | 10 nginx | 0.25 | ≥ 0.3 | no |" in shown
    assert shown.index("| no |") < shown.index("<details>") < shown.index("12,340 events/s")
