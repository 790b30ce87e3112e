import csv
import re

import pytest
from reprokit import Ledger, UserError, cli, judge, load_claims, standard_row
from reprokit.cli import reprokit as commands

CLAIM = {
    "id": "a",
    "package": "denram",
    "command": "make x",
    "metric": "test_acc",
    "ledger": "fig/results.csv",
    "dataset": "shd",
    "value": 80.0,
    "tolerance": 1.5,
    "source": "Fig. 1",
    "source_kind": "paper",
    "seeds": 3,
    "factor": 100,
    "unit": "%",
    "spread": 0.5,
    "where": {"n_in": 256, "noise_std": 0.1, "profile": "faithful", "clamp": True},
}
COLUMNS = {"n_in": int, "noise_std": float, "profile": str, "clamp": bool, "test_acc": float}


def toml(*claims):
    def value(item):
        if isinstance(item, dict):
            return "{" + ", ".join(f"{key} = {value(entry)}" for key, entry in item.items()) + "}"
        return str(item).lower() if isinstance(item, bool) else repr(item).replace("'", '"')

    return "\n".join(
        "[[claim]]\n" + "\n".join(f"{k} = {value(v)}" for k, v in claim.items()) for claim in claims
    )


class Study:
    """A reproduction folder with a claims file and a ledger."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "claims.toml"
        self.ledger = Ledger.for_results(folder / "fig" / "results.csv", COLUMNS)
        self.count = 0

    def claim(self, **changes):
        self.file.write_text(toml({k: v for k, v in (CLAIM | changes).items() if v is not None}))
        return self

    def row(self, accuracy, seed=1, scale="paper", dataset="shd", package="denram", **settings):
        self.count += 1
        standard = standard_row(
            {"n": self.count},
            package=package,
            claim="c",
            dataset=dataset,
            scale="paper",
            seed=seed,
            seconds=1,
            threads=1,
        )
        settings = {"n_in": 256, "noise_std": 0.1, "profile": "faithful", "clamp": True} | settings
        self.ledger.append(standard | settings | {"test_acc": accuracy, "scale": scale})
        return self

    def rows(self, *accuracies, **settings):
        for seed, accuracy in enumerate(accuracies):
            self.row(accuracy, seed, **settings)
        return self

    def verdict(self):
        (found,) = judge(load_claims(self.file), self.folder)
        return found


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path).claim()


def test_without_rows_it_is_not_run(study):
    assert study.verdict().status == "not run"
    study.rows(0.8, 0.8, 0.8, n_in=700)
    assert study.verdict() == type(study.verdict())(study.verdict().claim, "not run")


@pytest.mark.parametrize(
    ("mean", "status"),
    [
        (0.80, "ok"), (0.815, "ok"), (0.785, "ok"), (0.81501, "near"), (0.83, "near"), (0.77, "near"),
        (0.83001, "fail"), (0.7699, "fail"), (float("nan"), "fail"), (float("inf"), "fail"),
    ],
)  # fmt: skip
def test_distance_decides(study, mean, status):
    found = study.rows(mean, mean, mean).verdict()
    assert found.status == status
    assert ("not finite" in found.note) == (abs(mean) == float("inf") or mean != mean)


def test_mean_and_spread_over_seeds(study):
    found = study.rows(0.79, 0.80, 0.81, 0.82).verdict()
    assert found.measured == pytest.approx(80.5)
    assert found.spread == pytest.approx(1.2909944487)
    assert found.seeds == (0, 1, 2, 3)
    assert found.note == ""
    assert len(found.rows) == 4


def test_too_few_seeds_are_not_judged(study):
    found = study.rows(0.8, 0.8).verdict()
    assert (found.status, found.note) == ("reduced", "2 of 3 seeds")


def test_listed_seeds_count_and_no_others(study):
    study.claim(seeds=[0, 2, 9]).rows(0.80, 0.10, 0.82)
    found = study.verdict()
    assert (found.status, found.note, found.seeds) == ("reduced", "seed 9 missing", (0, 2))
    found = study.row(0.81, 9).verdict()
    assert (found.status, found.measured) == ("ok", pytest.approx(81.0))


def test_one_seed_needs_one_row_and_has_no_spread(study):
    found = study.claim(seeds=None).row(0.8, 5).verdict()
    assert (found.status, found.spread, found.seeds) == ("ok", None, (5,))


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"scale": "reduced"}, "data shd, scale reduced"),
        ({"scale": "smoke"}, "data shd, scale smoke"),
        ({"dataset": "spoken-digits"}, "data spoken-digits, scale paper"),
    ],
)
def test_other_scale_or_data_are_shown_but_not_judged(study, settings, note):
    found = study.rows(0.8, 0.8, 0.8, **settings).verdict()
    assert (found.status, found.note) == ("reduced", note)
    assert found.measured == pytest.approx(80)


def test_the_closest_substitute_is_shown(study):
    study.row(0.1, scale="smoke").row(0.2, scale="smoke", dataset="toy").row(
        0.3, scale="reduced", dataset="toy"
    )
    assert study.verdict().note == "data toy, scale reduced"
    study.row(0.4, scale="reduced")
    assert study.verdict().note == "data shd, scale reduced"
    study.row(0.5, scale="unheard")
    assert study.verdict().measured == pytest.approx(40)
    study.rows(0.8, 0.8, 0.8)
    assert study.verdict().status == "ok"


def test_only_matching_rows_count(study):
    study.rows(0.8, 0.8, 0.8)
    study.rows(0.1, 0.1, 0.1, profile="fixed")
    study.rows(0.1, 0.1, 0.1, noise_std=0.1000001)
    study.rows(0.1, 0.1, 0.1, clamp=False)
    study.rows(0.1, 0.1, 0.1, package="other")
    study.rows(0.1, 0.1, 0.1, noise_std=None)
    assert study.verdict().measured == pytest.approx(80)


def test_of_several_rows_of_a_seed_the_newest_counts_and_it_is_said(study):
    found = study.rows(0.1, 0.8, 0.8).row(0.8, 0).verdict()
    assert (found.status, found.note) == ("ok", "several rows of seed 0, the newest used")
    assert found.measured == pytest.approx(80)


def test_a_missing_column_is_named(study):
    study.claim(where={"n_delays": 16}).row(0.8)
    with pytest.raises(
        UserError, match=r"ledger fig/results.csv lacks the column n_delays that claim a needs"
    ):
        study.verdict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerence": 1.0}, "unknown key 'tolerence'; did you mean 'tolerance'"),
        ({"xyz": 1.0}, "unknown key 'xyz'; allowed are id, package"),
        ({"value": "80"}, "value is '80'; it must be of type int or float"),
        ({"value": True}, "value is True"),
        ({"source_kind": "blog"}, "source_kind is 'blog'; allowed are paper, code repository, our study"),
        ({"tolerance": 0.0}, "tolerance finite and above 0"),
        ({"tolerance": None}, "lacks tolerance"),
        ({"metric": None, "ledger": None}, "lacks metric, ledger"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": []}, r"seeds is \[\]"),
        ({"seeds": ["a"]}, "seeds is"),
    ],
)
def test_doubtful_claims_are_refused(study, change, message):
    study.claim(**change)
    with pytest.raises(UserError, match=f"claim 'a'.*{message}"):
        load_claims(study.file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[claim", "no valid TOML"),
        ("other = 1", "tables only"),
        ("claim = 3", "tables only"),
        ("claim = [3]", "tables only"),
    ],
)
def test_files_that_are_no_claims(tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_claims(tmp_path / "c.toml")


def test_unreadable_or_doubled_claims(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_claims(tmp_path / "absent.toml")
    (tmp_path / "c.toml").write_text(toml(CLAIM, CLAIM))
    with pytest.raises(UserError, match="two claims with the id 'a'"):
        load_claims(tmp_path / "c.toml")
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(UserError, match="no valid TOML"):
        load_claims(tmp_path / "c.toml")


def run(arguments, capsys):
    code = cli.run(lambda: commands.main([str(argument) for argument in arguments]))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_judge_command_prints_an_aligned_table(study, capsys):
    code, out, err = run(["judge", study.file], capsys)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "1 claims: 1 not run"
    study.rows(0.79, 0.80, 0.81)
    code, out, _ = run(["judge", study.file], capsys)
    header, line, _ = out.splitlines()
    assert code == 0
    assert re.split(r"\s{2,}", header) == [
        "claim", "published", "measured", "difference", "tolerance", "seeds", "verdict", "note",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", line) == [
        "a",
        "80.00 ± 0.50 %",
        "80.00 ± 1.00 %",
        "+0.00",
        "1.50",
        "3/3",
        "ok",
    ]
    assert header.index("verdict") == line.index("ok")


def test_the_judge_command_fails_with_a_claim(study, capsys, tmp_path):
    study.rows(0.1, 0.1, 0.1)
    code, out, _ = run(["judge", study.file], capsys)
    assert code == 1
    assert "-70.00" in out
    assert out.splitlines()[-1] == "1 claims: 1 fail"
    assert run(["judge", study.file, "--package", "sbs"], capsys) [:2] == (
        0, "claim  published  measured  difference  tolerance  seeds  verdict  note\n0 claims: none\n",
    )  # fmt: skip
    assert run(["judge", study.file, "--results", tmp_path / "elsewhere"], capsys)[0] == 0


def test_small_tolerances_get_enough_decimals(study, capsys):
    study.claim(value=0.8666, spread=None, tolerance=0.0015, factor=None, unit=None).rows(
        0.8671, 0.8671, 0.8671
    )
    _, out, _ = run(["judge", study.file], capsys)
    assert re.split(r"\s{2,}", out.splitlines()[1])[1:5] == [
        "0.8666",
        "0.8671 ± 0.0000",
        "+0.0005",
        "0.0015",
    ]


def test_command_line_errors(study, capsys):
    assert run([], capsys)[0] == 2
    code, out, _ = run(["--help"], capsys)
    assert code == 0
    assert "judge" in out
    code, out, err = run(["jugde"], capsys)
    assert (code, out) == (2, "")
    assert "'jugde' is no command of reprokit (did you mean 'judge'?)" in err
    assert run(["judge", study.folder / "absent.toml"], capsys)[0] == 2
    assert run(["judge", "--nonsense"], capsys)[0] == 2


def test_the_repository_s_own_claims(request):
    reproduction = request.path.parents[2] / "reproduction"
    claims = load_claims(reproduction / "claims.toml")
    fig4d = [claim for claim in claims if claim.package == "denram"]
    assert len(fig4d) == 10
    with (reproduction / "fig4d" / "expected.csv").open() as file:
        expected = list(csv.DictReader(file))
    assert len(expected) == 30
    for claim in fig4d:
        wanted = {key: claim.where[key] for key in ("n_in", "n_delays", "noise_std", "tau_mem")}
        rows = [row for row in expected if all(float(row[key]) == value for key, value in wanted.items())]
        assert [int(row["seed"]) for row in rows] == claim.seeds
        mean = sum(float(row["test_acc"]) for row in rows) / 3
        assert claim.value == pytest.approx(100 * mean, abs=0.0051)
        assert claim.tolerance == 1.5
    judge(claims, reproduction)
