"""Goals judged by made-up rows; every goal of the file belongs to a case or a curve that exists."""

import pytest
from reprokit import UserError, bench
from reprokit.run.ledger import Ledger

from benchmarks import goals, growth
from benchmarks.cases import Settings, registered
from benchmarks.recorded import row as empty_row

GOAL = {"package": "p", "text": "fast", "case": "c", "engine": "kernel {isa}", "peer": ["one *", "two *"]}


def row(**changes):
    entry = {
        "package": "p",
        "case": "c",
        "engine": "",
        "peer": "",
        "threads": 1,
        "seconds": 1,
        "cpu": "",
        "conditions": "",
    }
    start = empty_row(entry) | {"kind": "measured", "isa": "avx2", "engine": "kernel avx2", "peer": "one 1.0"}
    made = (
        start
        | {"ours_seconds": 0.1, "ours_spread": 0.02, "peer_spread": 0.04, "floor_seconds": 0.05}
        | changes
    )
    return made | {"ratio": made["peer_seconds"] / made["ours_seconds"]}


def judged(goal, *rows):
    (verdict,) = goals.judge(rows, (), [GOAL | goal])
    return verdict


def test_of_several_libraries_the_fastest_counts():
    rows = [row(), row(peer="two 1.0", peer_seconds=0.5), row(peer="autograd", peer_seconds=0.01)]
    found = judged({"ratio": {"avx2": 6}, "why": "reasons"}, *rows)
    assert (found["verdict"], found["measured"], found["floor"]) == ("missed", "5x ± 4% (two 1.0)", "10x")
    assert found["why"] == "reasons"
    found = judged({"ratio": {"avx2": 5}, "why": "reasons"}, *rows)
    assert (found["verdict"], found["why"]) == ("reached", "")


@pytest.mark.parametrize(
    ("limit", "verdict", "measured"),
    [
        ({"share": {"avx2": 0.1}}, "reached", "0.10"),
        ({"share": {"avx2": 0.09}}, "missed", "0.10"),
        ({"seconds": {"avx2": 0.1}}, "reached", "0.10 s"),
        ({"seconds": {"avx2": 0.05}}, "missed", "0.10 s"),
        ({"later": {"avx2": -0.9}}, "reached", "-0.90 s"),
        ({"later": {"avx2": -0.95}}, "missed", "-0.90 s"),
    ],
)
def test_each_kind_of_limit(limit, verdict, measured):
    found = judged({**limit, "peer": "one *"}, row())
    assert (found["verdict"], found["measured"]) == (verdict, f"{measured} ± 4%")


@pytest.mark.parametrize(
    "other",
    [{"isa": "avx512"}, {"package": "q"}, {"case": "d"}, {"engine": "kernel"}, {"peer": "three"}, {"threads": 2},
     {"kind": "recorded"}],
)  # fmt: skip
def test_rows_of_something_else_do_not_count(other):
    assert judged({"ratio": {"avx2": 5}}, row(**other))["verdict"] == "not run"


def test_the_newest_row_counts():
    assert judged({"ratio": {"avx2": 5}}, row(), row(ours_seconds=1.0))["verdict"] == "missed"


def test_memory_of_one_method_over_another(tmp_path):
    goal = {
        "package": "p",
        "text": "small",
        "method": "a",
        "over": "b",
        "parameter": "n",
        "value": 2,
        "memory": {"avx2": 3},
    }

    def point(method, memory):
        found = {name: kind() for name, kind in growth.COLUMNS.items()}
        return found | {
            "package": "p",
            "method": method,
            "parameter": "n",
            "value": 2,
            "isa": "avx2",
            "memory_mb": memory,
        }

    points = [point("a", 6.0), point("b", 2.0)]
    (found,) = goals.judge([], points, [goal])
    assert (found["verdict"], found["measured"]) == ("reached", "3x (6 and 2 MB)")
    assert goals.judge([], [points[0] | {"memory_mb": 6.1}, points[1]], [goal])[0]["verdict"] == "missed"
    assert goals.judge([], points[:1], [goal])[0]["verdict"] == "not run"
    (tmp_path / "growth.csv").write_text("")
    assert goals.draw(tmp_path / "results.csv", tmp_path / "growth.csv") == []


def test_a_file_with_a_wrong_goal_is_refused(tmp_path):
    file = tmp_path / "goals.toml"
    file.write_text('[[goal]]\npackage = "p"\ntext = "t"\nrate = 5\n')
    with pytest.raises(UserError, match="rate is unknown"):
        goals.read(file)
    file.write_text('[[goal]]\npackage = "p"\ntext = "t"\n')
    with pytest.raises(UserError, match="'t' needs exactly one of ratio"):
        goals.read(file)


def test_every_goal_belongs_to_a_case_or_a_curve():
    for isa in ("avx512", "avx2"):
        listed = [registered(package, Settings(isa=isa)) for package in
                  ("bdfa", "dalton", "denram", "nalsm", "sbs", "startup")]  # fmt: skip
        rows = [
            row(
                package=case.package,
                case=case.name,
                engine=case.engine,
                peer=case.peer,
                threads=case.threads,
                isa=isa,
            )
            for cases, _ in listed
            for case in cases
        ]
        curves = {(c.package, c.method, c.parameter): c.values for _, several in listed for c in several}
        for goal in goals.read():
            if "memory" in goal:
                for method in (goal["method"], goal["over"]):
                    assert goal["value"] in curves[goal["package"], method, goal["parameter"]]
        for verdict in goals.judge(rows):
            if verdict["isa"] == isa and "memory" not in verdict["asked"]:
                assert verdict["verdict"] != "not run", verdict


def test_the_table_has_a_line_a_goal_and_is_written_by_draw(tmp_path):
    ledger = bench.open_results(tmp_path / "results.csv")
    ledger.append(row(versions={}, date="2026-01-01"))
    (file,) = goals.draw(tmp_path / "results.csv", tmp_path / "growth.csv")
    lines = file.read_text().splitlines()
    assert sum(line.startswith("| ") for line in lines) == 2 + len(goals.judge([]))
    assert isinstance(ledger, Ledger)
