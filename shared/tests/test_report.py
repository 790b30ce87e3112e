import builtins
import re

import pytest
from reprokit import UserError, cli, commands
from reprokit.report import write_report

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
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "<td>0.91" in text
    assert "config" not in text
    assert text.count("1 ok") == text.count("1 not run") == 1


def test_without_jinja2_the_remedy_is_named(study, monkeypatch):
    real = builtins.__import__

    def blocked(name, *arguments, **options):
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(UserError, match="needs jinja2; install it with"):
        write_report(study / "x.html", [], study)
    assert not (study / "x.html").exists()
