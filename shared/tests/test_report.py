import re
import sys

import pytest
from reprokit import UserError, cli, judge, load_claims
from reprokit.claims.claims import load_papers
from reprokit.claims.report import _gauge, write_report
from reprokit.cli import reprokit as commands

pytest.importorskip("jinja2")


@pytest.fixture
def study(tmp_path):
    rows = "seed,scale,package,dataset,acc,config\n1,paper,p,mnist,0.9,{}\n2,paper,p,mnist,<b>0.9</b>,{}\n"
    (tmp_path / "fig").mkdir()
    (tmp_path / "fig" / "results.csv").write_text(rows.replace("<b>0.9</b>", "0.91"))
    (tmp_path / "fig" / "curve.png").write_bytes(b"\x89PNG")
    (tmp_path / "fig" / "curve.svg").write_text("<svg><script>alert(1)</script></svg>")
    (tmp_path / "fig" / "angles.svg").write_text("<svg/>")
    (tmp_path / "claims.toml").write_text(
        """
        [[paper]]
        package = "p"
        title = "Doe 2020: <rules>"
        url = "https://example.org/p"
        [[claim]]
        id = "one <script>"
        package = "p"
        command = "make a && b"
        metric = "acc"
        ledger = "fig/results.csv"
        dataset = "mnist"
        value = 90
        tolerance = 1
        factor = 100
        seeds = 2
        source = "Table <1>"
        source_kind = "paper"
        [[claim]]
        id = "two"
        package = "q"
        command = "make c"
        metric = "acc"
        ledger = "other/results.csv"
        dataset = "mnist"
        value = 90
        tolerance = 1
        source = "Table 2"
        source_kind = "paper"
        """
    )
    return tmp_path


def test_one_self_contained_page(study, capsys):
    page = study / "out" / "report.html"
    code = cli.run(lambda: commands.main(["report", str(study / "claims.toml"), "--out", str(page)]))
    assert code == 0
    assert capsys.readouterr().out == f"wrote {page}\n"
    text = page.read_text()
    assert "one &lt;script&gt;" in text
    assert "<script" not in text
    assert "Table &lt;1&gt; (paper)" in text
    assert "make a &amp;&amp; b" in text
    assert ">ok<" in text.replace("\n", "")
    assert "not run" in text
    assert "90.50" in text
    assert text.count("<img ") == 2
    assert 'alt="fig/curve.png"' in text
    assert 'alt="fig/angles.svg"' in text
    assert not re.search(r'(src|href)="(?!data:|https://example)', text)
    assert not re.search(r"@import|url\(", text)
    assert text.count('<a href="https://example.org/p">') == 1
    assert "Doe 2020: &lt;rules&gt;" in text
    assert "<td>0.91" in text
    assert "config" not in text
    assert "<b>1</b>ok" in text
    assert "<b>1</b>not run" in text
    assert "<b>0</b>fail" in text


def test_every_package_and_verdict_has_a_filter(study):
    verdicts = judge(load_claims(study / "claims.toml"), study)
    text = write_report(study / "report.html", verdicts, study).read_text()
    for number, name in ((1, "p"), (2, "q")):
        assert f'<label for="package-{number}">{name}</label>' in text
        assert f"body:has(#package-{number}:checked) .package:not(.package-{number})" in text
        assert f'<section class="package package-{number}">' in text
    for css in ("ok", "not-run"):
        number = re.search(rf'id="verdict-(\d)"><label for="verdict-\1">{css.replace("-", " ")}<', text)[1]
        assert f"body:has(#verdict-{number}:checked) .claim:not(.{css})" in text
        assert f'<details class="claim {css}"' in text


@pytest.mark.parametrize(
    ("values", "dataset", "at", "beyond"),
    [
        ((90.0, 90.0), "mnist", 0, 0),
        ((91.0, 92.0), "mnist", 47, 0),
        ((60.0, 60.0), "mnist", -94, -1),
        ((99.0, 99.0), "mnist", 94, 1),
        ((90.0, 90.0), "other", None, 0),
        ((float("nan"),), "mnist", None, 0),
    ],
)
def test_gauge_shows_the_distance_in_tolerances(study, values, dataset, at, beyond):
    lines = [f"{seed},paper,p,{dataset},{value / 100},{{}}" for seed, value in enumerate(values)]
    (study / "fig" / "results.csv").write_text(
        "\n".join(["seed,scale,package,dataset,acc,config", *lines, ""])
    )
    gauge = _gauge(judge(load_claims(study / "claims.toml"), study)[0])
    if at is None:
        assert gauge is None
        return
    assert (gauge["at"], gauge["beyond"]) == (pytest.approx(at), beyond)
    assert gauge["low"] <= gauge["at"] <= gauge["high"]


@pytest.mark.parametrize(
    "entry",
    [
        'package = "p"',
        'package = "p"\ntitle = "t"\nurl = "javascript:x"',
        'package = "p"\ntitle = 1\nurl = "https://x"',
    ],
)
def test_malformed_papers_are_refused(study, entry):
    (study / "claims.toml").write_text(f"[[paper]]\n{entry}\n")
    with pytest.raises(UserError, match=r"claims\.toml, paper 'p': (needs|url is)"):
        load_papers(study / "claims.toml")


def test_without_jinja2_the_remedy_is_named(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match="needs jinja2; install it with"):
        write_report(study / "x.html", [], study)
    assert not (study / "x.html").exists()
