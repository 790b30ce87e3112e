"""Figure 4d: the grid, the sweep with its ledger, the verdicts, the figure."""

import dataclasses
import json
from pathlib import Path

import pytest
from denram import cli
from denram.config import NETWORKS, TrainConfig
from denram.data.loading import load_data, open_data, save_data
from denram.formats.original import ORIGINAL_COLUMNS
from denram.reproduce import plan
from denram.reproduce.figures import NOISE_LEVELS, Point, draw, points, read_expected, table, verdict
from denram.reproduce.plan import COLUMNS, Protocol, grid, reproduce
from reprokit import DataIdentity, Ledger, UserError, load_recordings
from reprokit.plots import new_figure
from reprokit.run.study import ReproduceOptions

NETWORK = TrainConfig(n_in=64)
TINY = Protocol((0.0, 0.2), (42, 50), {"nb_epochs": 1, "batch_size": 16, "n_delays": 2, "lr": 5e-3})


@pytest.fixture(scope="module")
def tiny_sweep(tmp_path_factory):
    out = tmp_path_factory.mktemp("fig4d")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(plan.PROTOCOLS, "smoke", TINY)
        assert reproduce(ReproduceOptions(out=out)) == 0
    return out


def rows_of(out: Path) -> list[dict]:
    return Ledger.for_results(out / "results.csv", COLUMNS).rows()


def test_dev_17_paper_scale_is_the_original_script_without_the_stray_run():
    runs = grid("paper")
    assert len(runs) == 30
    assert len({(c.n_in, c.noise_std, c.seed) for _, c in runs}) == 30
    assert [(n, c.n_in, c.tau_mem) for n, c in (runs[0], runs[15])] == [("D2", 256, 0.015), ("D1", 700, 0.02)]
    assert [c.seed for _, c in runs[:3]] == [42, 50, 9]
    for _, config in runs:
        assert (config.nb_epochs, config.n_delays, config.r_mu, config.r_std) == (100, 16, 500e9, 0.4)
        assert (config.lr, config.batch_size, config.profile, config.patience) == (2e-4, 64, "faithful", 25)
    assert sorted({c.noise_std for _, c in runs}) == list(NOISE_LEVELS)


def test_ledger_has_the_columns_of_the_original_and_one_row_a_run(tiny_sweep):
    rows = rows_of(tiny_sweep)
    assert len(rows) == len({row["run_id"] for row in rows}) == 8
    assert set(ORIGINAL_COLUMNS) <= set(rows[0])
    assert {(row["dataset"], row["scale"], row["claim"]) for row in rows} == {
        ("spoken-toy", "smoke", "fig4d")
    }
    assert {row["data_digest"] for row in rows} == {DataIdentity.of(load_recordings("spoken-toy")).digest}
    assert all(row["seconds"] > 0 and 0 <= row["test_acc"] <= 1 for row in rows)


def test_second_sweep_skips_finished_runs_and_redoes_missing_rows(tiny_sweep, monkeypatch, capsys):
    monkeypatch.setitem(plan.PROTOCOLS, "smoke", TINY)
    before = (tiny_sweep / "results.csv").read_bytes()
    assert reproduce(ReproduceOptions(out=tiny_sweep)) == 0
    assert "sweep finished: 0 done, 8 skipped, 0 failed" in capsys.readouterr().out
    assert (tiny_sweep / "results.csv").read_bytes() == before
    lines = before.decode().splitlines(keepends=True)
    (tiny_sweep / "results.csv").write_text("".join(lines[:-1]))  # as after a kill between run and row
    assert reproduce(ReproduceOptions(out=tiny_sweep)) == 0
    assert "sweep finished: 1 done, 7 skipped, 0 failed" in capsys.readouterr().out
    assert len(rows_of(tiny_sweep)) == 8


def test_binned_events_of_an_older_version_learn_which_recordings_they_are(tmp_path):
    data = load_data("spoken-toy", NETWORK.binning)
    folder = save_data(data, tmp_path)
    about = json.loads((folder / "set.json").read_text())
    assert about["identity"] == data.identity.plain()
    del about["identity"]
    (folder / "set.json").write_text(json.dumps(about))
    assert open_data(folder).identity is None
    assert open_data(save_data(data, tmp_path)).identity == data.identity


def test_options_choose_networks_and_seeds(tiny_sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(plan.PROTOCOLS, "smoke", TINY)
    monkeypatch.chdir(tmp_path)
    assert (
        cli.main(["reproduce", "--only", "D2", "--only", "D2", "--seeds", "50", "7", "--threads", "2"]) == 0
    )
    out = tmp_path / "runs" / "reproduce" / "denram" / "smoke"
    rows = rows_of(out)
    assert {(row["network"], row["seed"]) for row in rows} == {("D2", 50), ("D2", 7)}
    assert {row["run_id"] for row in rows if row["seed"] == 50} <= {
        row["run_id"] for row in rows_of(tiny_sweep)
    }
    with pytest.raises(UserError, match="--only D3 is unknown"):
        reproduce(ReproduceOptions(out=tmp_path / "other", only=("D3",)))


@pytest.mark.slow
def test_two_processes_give_the_same_rows(tiny_sweep, tmp_path, monkeypatch):
    one_point = dataclasses.replace(TINY, noise_levels=(0.2,), seeds=(42,))
    monkeypatch.setitem(plan.PROTOCOLS, "smoke", one_point)
    assert reproduce(ReproduceOptions(out=tmp_path, jobs=2)) == 0
    expected = {r["run_id"]: r["test_acc"] for r in rows_of(tiny_sweep)}
    rows = rows_of(tmp_path)
    assert len(rows) == 2
    assert all(row["test_acc"] == expected[row["run_id"]] for row in rows)


def test_command_prints_the_table_and_draws_the_figure(tiny_sweep, monkeypatch, capsys):
    monkeypatch.setitem(plan.PROTOCOLS, "smoke", TINY)
    rows = [
        "n_in,n_delays,noise_std,tau_mem,seed,test_acc",
        "256,16,0.00,0.015,42,0.8629",
        "256,16,0.00,0.015,50,0.8616",
    ]
    (tiny_sweep / "expected.csv").write_text("\n".join(rows) + "\n")
    assert cli.main(["fig4d", "--scale", "smoke", "--out", str(tiny_sweep)]) == 0
    out = capsys.readouterr().out
    assert "D2      |   0 % | 86.22 ± 0.09" in out
    assert "not judged" in out
    assert "difference | verdict" in out
    assert (tiny_sweep / "fig4d_D1andD2.png").read_bytes().startswith(b"\x89PNG")
    assert (tiny_sweep / "fig4d_D1andD2.svg").read_text().startswith("<?xml")


def full(mean: float) -> dict:
    return {(name, noise): Point(mean, 0.5, (42, 50, 9)) for name in NETWORKS for noise in NOISE_LEVELS}


@pytest.mark.parametrize(("shift", "word"), [(1.4, "ok"), (-1.4, "ok"), (2.0, "near"), (-3.5, "fail")])
def test_verdicts_at_paper_scale_on_shd(shift, word):
    lines, verdicts = table(full(80.0), full(80.0 + shift), "shd", "paper", "faithful")
    assert verdicts == [word] * 10
    assert sum(word in line for line in lines) == 10


@pytest.mark.parametrize(
    ("dataset", "scale", "profile"),
    [("spoken-digits", "paper", "faithful"), ("shd", "reduced", "faithful"), ("shd", "paper", "fixed")],
)
def test_nothing_else_is_judged(dataset, scale, profile):
    lines, verdicts = table(full(80.0), full(80.0), dataset, scale, profile)
    assert set(verdicts) == {"not judged"}
    assert "not compared" in lines[-1]


def test_missing_seeds_and_points_are_named():
    assert verdict(Point(80, 1, (42, 50, 9)), Point(80, 1, (42, 50)), judged=True) == "seeds missing"
    assert verdict(Point(80, 1, (42, 50, 9)), None, judged=True) == "not run"


def test_points_are_mean_and_sample_deviation_in_percent():
    rows = [
        {"n_in": 256, "noise_std": "0.10", "seed": s, "test_acc": a}
        for s, a in ((42, 0.8246), (50, 0.8232), (9, 0.8138))
    ]
    point = points(rows)["D2", 0.1]
    assert (round(point.mean, 2), round(point.spread, 2), len(point.seeds)) == (82.05, 0.59, 3)


def test_published_table_of_the_repository_is_readable():
    file = Path(__file__).resolve().parents[3] / "reproduction/fig4d/expected.csv"
    if not file.exists():
        pytest.skip("reproduction/fig4d/expected.csv is not part of this copy")
    expected = read_expected(file)
    assert len(expected) == 10
    assert all(len(point.seeds) == 3 for point in expected.values())


def test_damaged_table_is_refused(tmp_path):
    (tmp_path / "expected.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"expected\.csv is not a table"):
        read_expected(tmp_path / "expected.csv")


def test_figure_is_a_column_wide_and_carries_the_name_of_other_data(tiny_sweep, tmp_path):
    measured = points(rows_of(tiny_sweep))
    png, _, svg, numbers = draw({}, measured, tmp_path, "spoken-toy", "smoke", "faithful")
    assert int.from_bytes(png.read_bytes()[16:20], "big") == 1005  # 3.35 in
    assert "ours: spoken-toy, scale smoke" in svg.read_text()
    assert len(numbers.read_text().splitlines()) == 1 + len(measured)
    first = svg.read_bytes()
    assert draw({}, measured, tmp_path, "spoken-toy", "smoke", "faithful")[2].read_bytes() == first


def test_published_curves_can_be_told_apart_and_the_axis_begins_where_the_data_are(tmp_path, monkeypatch):
    drawn = []

    def keep(*arguments, **settings):
        figure, axes = new_figure(*arguments, **settings)
        drawn.extend(axes)
        return figure, axes

    monkeypatch.setattr("denram.reproduce.figures.new_figure", keep)
    published = {(name, noise): Point(level - 50 * noise, 0.5, (1, 2)) for name, level in (("D1", 90), ("D2", 86))
                 for noise in NOISE_LEVELS}  # fmt: skip
    draw(published, {}, tmp_path, "shd", "paper", "faithful")
    (axes,) = drawn
    lines = [container.lines[0] for container in axes.containers]
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 2
    assert axes.get_ylim()[0] > 70
    assert "ours" not in axes.texts[0].get_text()
