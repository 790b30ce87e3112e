import csv
import json
import re

import pytest
from reprokit import Ledger, UserError, cli, judge, load_claims, standard_row
from reprokit.claims.table import as_markdown
from reprokit.cli import reprokit as commands
from reprokit.data.catalog import DIGESTS

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

    def row(self, accuracy, seed=1, scale="paper", dataset="shd", package="denram", config=None, **settings):
        self.count += 1
        standard = standard_row(
            {"n": self.count} | (config or {}),
            package=package,
            claim="c",
            dataset=dataset,
            scale="paper",
            seed=seed,
            seconds=1,
            threads=1,
        )
        settings = {"n_in": 256, "noise_std": 0.1, "profile": "faithful", "clamp": True} | settings
        settings = {"git_commit": "c0ffee", "data_digest": "ab" * 32} | settings
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


def test_the_reason_is_given_with_every_verdict_that_is_no_success(study):
    study.claim(reason="SHD is a download", minutes=12.5)
    assert study.verdict().note == "SHD is a download; 12.5 minutes on one core"
    study.rows(0.8, 0.8, 0.8, scale="reduced")
    assert study.verdict().note == "data shd, scale reduced; SHD is a download"
    study.rows(0.8)
    assert study.verdict().note == "1 of 3 seeds; SHD is a download"
    study.rows(0.5, 0.5, 0.5)
    assert (study.verdict().status, study.verdict().note.split("; ")[0]) == ("fail", "SHD is a download")
    study.rows(0.82, 0.82, 0.82)
    assert (study.verdict().status, study.verdict().note.split("; ")[0]) == ("near", "SHD is a download")
    study.rows(0.8, 0.8, 0.8)
    assert study.verdict().status == "ok"
    assert "download" not in study.verdict().note


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


def test_two_seeds_have_a_spread(study):
    """Of exactly two values: |a - b| / sqrt(2), not half of it and not none."""
    found = study.claim(seeds=2).rows(0.79, 0.81).verdict()
    assert (found.status, len(found.rows)) == ("ok", 2)
    assert found.spread == pytest.approx(2 / 2**0.5)


def test_the_difference_is_standardised_by_the_published_spread(study):
    found = study.rows(0.81, 0.81, 0.81).verdict()
    unit = 0.5 * (1 / 3 + 1 / 3) ** 0.5
    assert found.z == pytest.approx(1 / unit)
    assert found.telling  # two units are 0.82, the tolerance 1.5
    assert found.note == ""


def test_without_a_published_spread_no_number_of_seeds_is_too_small_to_tell(study):
    found = study.claim(spread=None, seeds=1).row(0.8).verdict()
    assert (found.status, found.z, found.telling, found.note) == ("ok", None, True, "")


def test_too_few_seeds_to_tell_are_said(study):
    found = study.claim(seeds=1, spread=0.6).row(0.81).verdict()
    assert found.z == pytest.approx(1 / (0.6 * 2**0.5))
    assert (found.status, found.telling, found.note) == ("ok", False, "n too small to tell")
    assert study.claim(seeds=1, spread=0.53).verdict().telling  # just enough
    assert study.claim(seeds=1, spread=None).verdict().z is None
    assert study.claim(seeds=1, dataset="other").verdict().z is None  # nothing is judged


def test_rows_of_a_modified_tree_are_unclean_and_never_judged(study):
    found = study.rows(0.8, 0.8, 0.8, git_commit="c0ffee-dirty").verdict()
    assert (found.status, found.note) == ("unclean", "seed 0, 1, 2 from a modified working tree")
    assert found.measured == pytest.approx(80)
    found = study.row(0.81, 0).row(0.81, 2).verdict()
    assert (found.status, found.seeds) == ("unclean", (0, 1, 2))
    assert found.note == "seed 1 from a modified working tree; several rows of seed 0, 2, the newest used"
    assert study.row(0.81, 1).verdict().status == "ok"


def test_a_clean_row_is_not_replaced_by_a_newer_one_of_a_modified_tree(study):
    found = study.rows(0.8, 0.8, 0.8).row(0.1, 2, git_commit="c0ffee-dirty").verdict()
    assert (found.status, found.note) == ("ok", "several rows of seed 2, the newest clean used")
    assert found.measured == pytest.approx(80)


def test_revisions_are_never_averaged(study):
    study.rows(0.1, 0.1, 0.1)
    found = study.rows(0.8, 0.8, config={"revision": 2}).verdict()
    assert (found.status, found.seeds) == ("reduced", (0, 1))
    assert found.note == "2 of 3 seeds; revision 2, 3 rows of an older one left out"
    assert study.row(0.8, 7, config={"revision": 2}).verdict().status == "ok"


def test_a_run_id_that_is_not_its_configuration_s_is_refused(study, capsys):
    study.rows(0.8, 0.8).row(0.8, 2, run_id="0" * 16)
    with pytest.raises(
        UserError,
        match=r"results\.csv line 4, column run_id: '0{16}' is not that of the row's configuration, \w{16};",
    ):
        study.verdict()
    assert run(["judge", study.file], capsys)[0] == 2


def test_a_digest_that_is_not_the_published_one_is_own_data(study):
    study.claim(dataset="digits").rows(0.8, 0.8, 0.8, dataset="digits", data_digest="")
    found = study.verdict()  # an older row: not identified, counted apart
    assert (found.status, found.identified, found.note) == ("ok", False, "data not identified")
    study.rows(0.8, 0.8, 0.8, dataset="digits", data_digest=DIGESTS["digits"])
    assert study.verdict().identified
    study.file.write_text(toml(CLAIM | {"dataset": "digits", "seeds": [7]}))
    found = study.row(0.8, 7, dataset="digits", data_digest="ab" * 32).verdict()
    assert (found.status, found.note) == (
        "reduced", "data digits, scale paper, but another digest than the published set's"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",1,256,", ",01,256,", r"line 2, column seed: '01' is not a seed, which is a whole number without"),
        (",1,256,", ",,256,", r"line 2, column seed: '' is not a seed"),
        (",1,256,", ",one,256,", r"line 2, column seed: 'one' is not a seed"),
        (",0.8,", ",much,", r"line 2, column test_acc: 'much' is not a number; repair or remove the row"),
        (",0.8,", ",8_0,", r"line 2, column test_acc: '8_0' is not a number"),
        ('"{""n"":1}"', "{", r"line 2, column config: holds no JSON object"),
        ('"{""n"":1}"', "[1]", r"line 2, column config: holds no JSON object"),
        ("n_in,", "clamp,", r"line 1 has the column clamp twice; rename or remove one"),
        ("seed,", "sead,", r"line 1: lacks the column seed; it is not a ledger of results"),
        ("\n", "\r\n", None),
    ],
)
def test_damaged_ledgers_are_one_sentence_with_line_and_column(study, capsys, old, new, words):
    study.claim(seeds=1).row(0.8, 1)
    path = study.ledger.path
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new), newline="")
    code, out, err = run(["judge", study.file], capsys)
    if words is None:  # one kind of line end throughout is not damage
        assert (code, err) == (0, "")
        path.write_text(text.replace("\n", "\r\n", 1), newline="")
        code, out, err = run(["judge", study.file], capsys)
        words = r"line 2 ends in another way than the lines before it"
    assert (code, out) == (2, "")
    assert re.search(rf"ledger \S+results\.csv {words}", err)
    assert len(err.splitlines()) == 1


def test_an_empty_ledger_is_named(study):
    study.ledger.path.parent.mkdir(exist_ok=True)
    study.ledger.path.write_text("")
    with pytest.raises(
        UserError, match=r"results\.csv line 1: there is no header, the file is empty; remove it"
    ):
        study.verdict()
    Ledger.for_results(study.folder / "fig" / "other.csv", COLUMNS)
    study.row(0.8)
    text = study.ledger.path.read_text()
    study.ledger.path.write_text(text.splitlines(keepends=True)[0])  # a header alone is a ledger
    assert study.verdict().status == "not run"


def test_a_ledger_of_a_newer_version_is_judged_all_the_same(study):
    study.claim(seeds=1).row(0.8)
    lines = study.ledger.path.read_text().splitlines()
    study.ledger.path.write_text(f"{lines[0]},later\n{lines[1]},x\n")
    assert study.verdict().status == "ok"


def test_totals_are_kept_apart_by_the_kind_of_source(study, capsys):
    kinds = ("paper", "code repository", "recording", "recording", "bound")
    study.file.write_text(
        toml(*(CLAIM | {"id": f"c{n}", "source_kind": kind, "seeds": 1} for n, kind in enumerate(kinds)))
    )
    study.row(0.8, data_digest="")
    _, out, _ = run(["judge", study.file], capsys)
    assert out.splitlines()[6:] == [
        "5 claims: 5 ok", "paper: 1 claims: 1 ok", "code repository: 1 claims: 1 ok", "recording: 2 claims: 2 ok",
        "bound: 1 claims: 1 ok", "published: 2 claims: 2 ok", "data not identified: 5 claims",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "status", "strict"),
    [({}, "ok", 0), ({"git_commit": "a-dirty"}, "unclean", 1), ({"scale": "reduced"}, "reduced", 1)],
)
def test_strict_fails_for_what_is_not_judged(study, capsys, settings, status, strict):
    study.claim(seeds=1).row(0.8, **settings)
    assert study.verdict().status == status
    assert run(["judge", study.file], capsys)[0] == 0
    assert run(["judge", study.file, "--strict"], capsys)[0] == strict


def test_json_holds_every_verdict(study, capsys):
    study.rows(0.79, 0.80, float("nan"))
    code, out, _ = run(["judge", study.file, "--json"], capsys)
    found = json.loads(out)
    assert code == 1
    assert found["counts"]["all"] == found["counts"]["published"]
    assert found["counts"]["all"]["fail"] == 1
    (claim,) = found["claims"]
    assert (claim["id"], claim["status"], claim["measured"], claim["seeds"]) == ("a", "fail", None, [0, 1, 2])
    study.file.write_text(toml(CLAIM | {"seeds": 2}))
    study.ledger.path.unlink()
    study.rows(0.79, 0.81)
    (claim,) = json.loads(run(["judge", study.file, "--json"], capsys)[1])["claims"]
    assert claim["difference"] == pytest.approx(0)
    assert (claim["published"], claim["tolerance"], claim["unit"]) == (80, 1.5, "%")
    assert (claim["enough_seeds_to_tell"], claim["data_identified"]) == (True, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerence": 1.0}, "unknown key 'tolerence'; did you mean 'tolerance'"),
        ({"xyz": 1.0}, "unknown key 'xyz'; allowed: id, package"),
        ({"value": "80"}, "value is '80'; it must be of type int or float"),
        ({"value": True}, "value is True"),
        (
            {"source_kind": "blog"},
            "source_kind is 'blog'; allowed: paper, code repository, recording, bound",
        ),
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
        ("[[claim", "not valid TOML"),
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
    for damage in (b"\xff", b"a = " + b"[" * 100_000):
        (tmp_path / "c.toml").write_bytes(damage)
        with pytest.raises(UserError, match="not valid TOML"):
            load_claims(tmp_path / "c.toml")


def run(arguments, capsys):
    code = cli.run(lambda: commands.main([str(argument) for argument in arguments]))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_judge_command_prints_an_aligned_table(study, capsys):
    code, out, err = run(["judge", study.file], capsys)
    assert (code, err) == (0, "")
    assert out.splitlines()[2:] == [
        "1 claims: 1 not run", "paper: 1 claims: 1 not run", "published: 1 claims: 1 not run"
    ]  # fmt: skip
    study.rows(0.79, 0.80, 0.81)
    code, out, _ = run(["judge", study.file], capsys)
    header, line, *_ = out.splitlines()
    assert code == 0
    assert re.split(r"\s{2,}", header) == [
        "claim", "published", "measured", "difference", "z", "tolerance", "seeds", "verdict", "note",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", line) == [
        "a",
        "80.00 ± 0.50 %",
        "80.00 ± 1.00 %",
        "+0.00",
        "+0.0",
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
    assert out.splitlines()[2:] == [
        "1 claims: 1 fail",
        "paper: 1 claims: 1 fail",
        "published: 1 claims: 1 fail",
    ]
    assert run(["judge", study.file, "--package", "sbs"], capsys)[:2] == (
        0,
        "claim  published  measured  difference  z  tolerance  seeds  verdict  note\n"
        "0 claims: none\npublished: 0 claims: none\n",
    )
    (tmp_path / "elsewhere").mkdir()
    assert run(["judge", study.file, "--results", tmp_path / "elsewhere"], capsys)[0] == 0


@pytest.mark.parametrize("command", ["judge", "report"])
def test_a_mistyped_folder_of_results_is_refused(study, capsys, command):
    """Not one in which nothing was run."""
    study.rows(0.79, 0.80, 0.81)
    code, out, err = run([command, study.file, "--results", study.folder / "fgi"], capsys)
    assert (code, out) == (2, "")
    assert re.search(r"^error: there is no folder .*fgi; give the folder .* ledger paths start", err)


def test_a_package_s_judge_knows_strict_and_json(study, capsys):
    study.row(0.8, scale="reduced")
    main = cli.App("denram", summary="").main
    codes = []
    for flags in ([], ["--strict"], ["--json"]):
        codes.append(cli.run(lambda flags=flags: main(["judge", "--claims", str(study.file), *flags])))
        out = capsys.readouterr().out
    assert codes == [0, 1, 0]
    assert json.loads(out)["counts"]["all"]["reduced"] == 1


def test_headlines_as_markdown(study):
    study.claim(headline="Delays learn").row(0.8, 1).row(0.81, 1)
    text = as_markdown(judge(load_claims(study.file), study.folder))
    assert text == (
        "| package | result | published | ours | verdict |\n|---|---|---|---|---|\n"
        "| denram | Delays learn | 80.00 ± 0.50 % | 81.00 % (1 of 3 seeds; several rows of seed 1, the newest used) "
        "| reduced |\n\n"
        "1 claims: 1 reduced; paper: 1 claims: 1 reduced; published: 1 claims: 1 reduced."
    )
    study.claim(headline="Delays learn", source_kind="recording", seeds=1)
    assert "| 80.00 ± 0.50 % (recording) |" in as_markdown(judge(load_claims(study.file), study.folder))
    assert "| denram |" not in as_markdown(judge(load_claims(study.claim().file), study.folder))


def test_small_tolerances_get_enough_decimals(study, capsys):
    study.claim(value=0.8666, spread=None, tolerance=0.0015, factor=None, unit=None).rows(
        0.8671, 0.8671, 0.8671
    )
    _, out, _ = run(["judge", study.file], capsys)
    assert re.split(r"\s{2,}", out.splitlines()[1])[1:6] == [
        "0.8666",
        "0.8671 ± 0.0000",
        "+0.0005",
        "-",
        "0.0015",
    ]


def test_command_line_errors(study, capsys):
    assert run([], capsys)[0] == 2
    code, out, _ = run(["--help"], capsys)
    assert code == 0
    assert "judge" in out
    code, out, err = run(["jugde"], capsys)
    assert (code, out) == (2, "")
    assert "'jugde' is not a command of reprokit (did you mean 'judge'?)" in err
    assert run(["judge", study.folder / "absent.toml"], capsys)[0] == 2
    assert run(["judge", "--nonsense"], capsys)[0] == 2


def test_the_repository_s_own_claims(request):
    reproduction = request.path.parents[2] / "reproduction"
    claims = load_claims(reproduction / "claims.toml")
    fig4d = [claim for claim in claims if claim.id.startswith("denram-fig4d-")]
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
