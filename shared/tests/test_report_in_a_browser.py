"""The results page in headless Chromium: no sideways scroll at 390 px, and axe-core finds nothing serious.

axe-core is taken from ``AXE_CORE`` (the file axe.min.js) or ``node_modules/axe-core`` in a folder above.
"""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from reprokit import judge, load_claims
from reprokit.claims.claims import load_papers
from reprokit.claims.report import write_report

pytest.importorskip("jinja2")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
RESULTS = Path(__file__).parents[2] / "reproduction"
THEMES = {"light": "@media not all", "dark": "@media all"}  # in place of the reader's own choice

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
    pytest.mark.skipif(not (RESULTS / "claims.toml").exists(), reason="these are not the tests of a clone"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = RESULTS / "claims.toml"
    out = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(out, judge(load_claims(file), RESULTS), RESULTS, load_papers(file)).read_text("utf-8")


def after(text: str, folder: Path) -> str:
    """The document as its scripts leave it, given as text."""
    (folder / "shown.html").write_text(text, encoding="utf-8")
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000", "--dump-dom",
             f"--user-data-dir={folder / 'profile'}", (folder / "shown.html").as_uri()]  # fmt: skip
    done = subprocess.run([CHROMIUM, *words], capture_output=True, text=True, timeout=240, check=True)
    return done.stdout


@pytest.mark.parametrize("theme", THEMES)
def test_no_sideways_scroll_on_a_telephone(page: str, tmp_path: Path, theme: str) -> None:
    opened = page.replace("<details", "<details open").replace(
        "@media (prefers-color-scheme: dark)", THEMES[theme]
    )
    script = "document.title = frames[0].document.documentElement.scrollWidth"
    frame = f'<iframe width="390" height="844" style="border: 0" onload="{script}" srcdoc="{html.escape(opened)}">'
    found = re.search(
        r"<title>(\d+)</title>", after(f"<!doctype html><title>0</title>{frame}</iframe>", tmp_path)
    )
    assert found is not None
    assert 300 < int(found[1]) <= 390


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious(page: str, tmp_path: Path, theme: str) -> None:
    places = [folder / "node_modules" / "axe-core" / "axe.min.js" for folder in Path(__file__).parents]
    axe = next((file for file in [Path(os.environ.get("AXE_CORE", "-")), *places] if file.is_file()), None)
    if axe is None:
        pytest.skip("axe-core is not here: npm install axe-core, or name axe.min.js in AXE_CORE")
    opened = page.replace("<details", "<details open").replace(
        "@media (prefers-color-scheme: dark)", THEMES[theme]
    )
    run = (
        "axe.run().then(found => document.documentElement.dataset.found = JSON.stringify(found.violations.map("
        "one => [one.id, one.impact, one.nodes.length, one.nodes[0].html.slice(0, 200)])))"
    )
    shown = after(f"{opened}<script>{axe.read_text('utf-8')}</script><script>{run}</script>", tmp_path)
    found = re.search(r'data-found="([^"]*)"', shown)
    assert found is not None
    violations = json.loads(html.unescape(found[1]))
    assert [one for one in violations if one[1] in ("serious", "critical")] == []
