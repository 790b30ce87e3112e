"""The results table of the README is what the judge makes of the ledgers."""

import importlib.util
from pathlib import Path

import pytest
from reprokit.claims import judge, load_claims

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("results_table", ROOT / "reproduction" / "results_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_the_judge_says(script):
    assert script.main(["--check"]) == 0


def test_every_claim_says_how_long_it_takes():
    for claim in load_claims(ROOT / "reproduction/claims.toml"):
        assert claim.minutes is not None, claim.id
        assert claim.minutes_gpu is not None, claim.id
        assert min(claim.minutes, claim.minutes_gpu) > 0, claim.id


def test_every_number_is_measured_or_has_its_reason():
    for verdict in judge(load_claims(ROOT / "reproduction/claims.toml"), ROOT / "reproduction"):
        assert verdict.status != "unclean", verdict.claim.id
        assert verdict.status == "ok" or verdict.claim.reason, verdict.claim.id


def test_a_readme_that_is_behind_is_noticed_and_written_anew(script, tmp_path, monkeypatch, capsys):
    (tmp_path / "reproduction").mkdir()
    for name in ("claims.toml", "fig4d", "heartbeat", "sbs", "bdfa", "nalsm", "dalton"):
        (tmp_path / "reproduction" / name).symlink_to(ROOT / "reproduction" / name)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(
        text.replace("| sbs | MNIST, V2 |", "| sbs | MNIST, V2 | 100 %"), encoding="utf-8"
    )
    monkeypatch.setattr(script, "ROOT", tmp_path)
    assert script.main(["--check"]) == 1
    assert "the results table is not what the judge says" in capsys.readouterr().out
    assert script.main([]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("damage", ["", "{b}{e}{b}{e}", "{e}{b}"])
def test_marks_must_be_there_once(script, damage):
    with pytest.raises(SystemExit, match="once, in this order"):
        script.with_results(damage.format(b=script.BEGIN, e=script.END), "table")
