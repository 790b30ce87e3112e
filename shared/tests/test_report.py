import re
import sys
from pathlib import Path

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


def page_of(study, name="report.html"):
    verdicts = judge(load_claims(study / "claims.toml"), study)
    return write_report(study / name, verdicts, study).read_text()


def test_a_figure_has_its_numbers_and_published_ones_are_there_too(study):
    (study / "fig" / "curve.csv").write_text(
        "step,error\n" + "".join(f"{k},0.123456789\n" for k in range(150))
    )
    (study / "fig" / "expected.csv").write_text("noise,acc\n0.1,<90>\n")
    text = page_of(study)
    assert "numbers: fig/curve.csv, 150 rows" in text
    assert text.count("<td>0.123457</td>") == 100
    assert "The first 100 of 150 rows." in text
    assert 'download="curve.csv" href="data:text/csv;base64,' in text
    assert "numbers: fig/expected.csv, 1 rows" in text
    assert "<td>&lt;90&gt;</td>" in text
    assert "results.csv, " not in text


@pytest.mark.parametrize("name", ["curve.png", "angles.svg", "curve.csv"])
def test_a_symbolic_link_is_refused(study, tmp_path_factory, name):
    secret = tmp_path_factory.mktemp("outside") / name
    secret.write_text("secret")
    (study / "fig" / name).unlink(missing_ok=True)
    (study / "fig" / name).symlink_to(secret)
    with pytest.raises(UserError, match=rf"fig/{re.escape(name)} is a symbolic link or is outside"):
        page_of(study)
    assert not (study / "report.html").exists()


def test_a_folder_that_is_a_link_is_not_followed(study, tmp_path_factory):
    (study / "fig" / "curve.png").rename(study / "curve.png")
    outside = (study / "fig").rename(tmp_path_factory.mktemp("outside") / "fig")
    (study / "fig").symlink_to(outside)
    with pytest.raises(UserError, match="is outside"):
        page_of(study)


def test_comparison_and_trust_are_shown_where_they_exist(study):
    assert "side by side" not in page_of(study)
    results = study / "reproduction"
    results.mkdir()
    for name in ("fig", "claims.toml"):
        (study / name).rename(results / name)
    (results / "compare").mkdir()
    (results / "compare" / "README.md").write_text(
        "# Compare\n\n| method | accuracy |\n|---|---|\n| `sbs` | 99 \\| 98 |\n\ntext\n"
    )
    (results / "compare" / "cost.svg").write_text("<svg/>")
    (study / "docs").mkdir()
    (study / "docs" / "trust.md").write_text(
        "# Trust\n\n## Kills\n\n| | kills |\n| --- | --- |\n| [sbs](x.md) | 40 |\n\n## Empty\n\n| a |\n|---|\n\n"
        "## Files\n\n| | files |\n| --- | --- |\n| idx | 7 |\n| png | 8 |\n"
    )
    text = page_of(results)
    assert "The methods side by side" in text
    assert "<td>sbs</td><td>99 | 98</td>" in text
    assert 'alt="compare/cost.svg"' in text
    assert "<summary>Kills, 1 rows</summary>" in text
    assert "<td>sbs</td><td>40</td>" in text
    assert "<summary>Files, 2 rows</summary>" in text
    assert "Empty" not in text


def test_the_page_of_this_repository_is_below_5_mb(tmp_path):
    results = Path(__file__).parents[2] / "reproduction"
    if not (results / "claims.toml").exists():
        pytest.skip("these are not the tests of a clone")
    page = write_report(
        tmp_path / "report.html", judge(load_claims(results / "claims.toml"), results), results
    )
    assert page.stat().st_size < 5_000_000
    assert "Trust, measured" in page.read_text()


def luminance(colour):
    colour = colour.lstrip("#")
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_of_wcag_in_both_themes(study):
    themes = re.findall(r":root \{(.*?)\}", page_of(study), re.S)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#\w+);", theme))
        pairs = [("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("accent", "card"),
                 ("accent", "page"), ("soft", "band-near")]  # fmt: skip
        pairs += [("card", tone) for tone in ("ok", "near", "fail", "reduced", "unclean", "not-run")]
        for one, other in pairs:
            low, high = sorted((luminance(colours[one]), luminance(colours[other])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (one, other)


def test_whatever_scrolls_can_be_reached_by_the_keyboard(study):
    text = page_of(study)
    regions = re.findall(r'<div class="rows"[^>]*>', text)
    assert regions
    assert all('tabindex="0" role="region" aria-label="' in region for region in regions)
