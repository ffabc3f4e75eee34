"""The dashboards of charts/dashboards: their files, and what they ask Prometheus for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from broker.status import Phase, SourceState
from charts.dashboards import FILES, text
from charts.dashboards.links import FROM_ROW
from charts.dashboards.panels import Kind
from charts.dashboards.states import SOURCE_STATES, TRIGGER_STATES
from tests.services.alertrules import RUNBOOKS, alerts, fired, run
from tests.services.grafana import Panel, asked, board
from tests.services.promql import Metric, metrics, problems

BOARDS = sorted(FILES)
CHOSEN = re.compile(r"\$\{?(\w+)")


def panels() -> list[Panel]:
    return [panel for file in BOARDS for panel in board(file).panels]


def known() -> dict[str, Metric]:
    labels = {"alertname"}.union(*(each for each in fired().values()))
    return {**metrics(), "ALERTS": Metric(kind="gauge", labels=frozenset(labels))}


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.name)
def test_its_file_is_what_the_code_says(file: Path) -> None:
    assert file.read_text() == text(FILES[file]), "python -m charts.dashboards"


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.name)
def test_it_asks_for_what_a_mesh_tells(file: Path) -> None:
    wrong = {query: [*problems(query, known())] for query in asked(board(file))}

    assert len(wrong) > 10
    assert {query: found for query, found in wrong.items() if found} == {}


def test_promtool_reads_every_query(promtool: Path, tmp_path: Path) -> None:
    queries = [query for file in BOARDS for query in asked(board(file))]
    named = [{"record": f"board:{index}", "expr": each} for index, each in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_bytes(msgspec.yaml.encode({"groups": [{"name": "boards", "rules": named}]}))

    run(promtool, "check", "rules", file)


def test_every_panel_asks_for_one_mesh_and_says_what_to_do() -> None:
    for panel in panels():
        if panel.type == "row":
            continue
        assert panel.type in {*get_args(Kind), "text"}
        assert panel.description or panel.type == "text", panel.title
        for target in panel.targets:
            selected = re.findall(r"\{(.*?)}", target.expr)
            assert selected, target.expr
            assert all(each.startswith('job="$job"') for each in selected), target.expr


def test_panels_do_not_overlap() -> None:
    for file in BOARDS:
        places = [panel.gridPos for panel in board(file).panels]
        cells = [cell for each in places for cell in each.cells()]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) == 23


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.name)
def test_all_that_is_chosen_can_be_chosen(file: Path) -> None:
    shown = file.read_text()
    variables = {each.name for each in board(file).templating.list}

    used = {name for name in CHOSEN.findall(shown) if not name.startswith("__")}

    assert used == variables


def test_links_lead_to_runbooks_and_boards_that_are_there() -> None:
    shown = "".join(file.read_text() for file in BOARDS)
    names = re.findall(r"\$\{runbooks}/(\w+)\.md", shown)
    boards = {board(file).uid: board(file) for file in BOARDS}
    [to] = re.findall(r"/d/([\w-]+)\?", FROM_ROW.url)

    assert {RUNBOOKS / f"{name}.md" for name in names} <= set(RUNBOOKS.iterdir())
    assert alerts().keys() - set(names) == set(), "no panel leads to these"
    for variable in re.findall(r"var-(\w+)=|\$\{(\w+):queryparam}", FROM_ROW.url):
        assert "".join(variable) in {each.name for each in boards[to].templating.list}


def test_a_state_that_triggers_and_sources_have_has_its_number() -> None:
    assert sorted(each.text for each in TRIGGER_STATES.values()) == sorted(get_args(Phase))
    assert sorted(each.text for each in SOURCE_STATES.values()) == sorted(get_args(SourceState))


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("cemesh_waiting", "there is no metric cemesh_waiting"),
        ("rate(cemesh_waiting_events[5m])", "rate of cemesh_waiting_events, which is a gauge"),
        ("delta(cemesh_attempts_total[5m])", "delta of cemesh_attempts_total, which is a counter"),
        ('cemesh_waiting_events{broker="b"}', "cemesh_waiting_events has no label broker"),
        (
            'cemesh_trigger_state{state="standby"}',
            'state of cemesh_trigger_state is never "standby"',
        ),
        (
            "sum by (broker) (cemesh_waiting_events)",
            "cemesh_waiting_events has no broker to be summed up by",
        ),
        (
            "histogram_quantile(1, sum by (to) (rate(cemesh_attempt_duration_seconds_bucket[5m])))",
            "cemesh_attempt_duration_seconds_bucket is summed up over its buckets",
        ),
        (
            "histogram_quantile(0.5, rate(cemesh_channel_duration_seconds_sum[5m]))",
            "cemesh_channel_duration_seconds_sum in a quantile, or buckets in none",
        ),
        (
            "histogram_quantile(0.5, cemesh_channel_duration_seconds_bucket)",
            "cemesh_channel_duration_seconds_bucket since its process began",
        ),
    ],
)
def test_a_query_that_asks_for_something_else_is_found(query: str, why: str) -> None:
    assert [*problems(query, metrics())] == [why]
