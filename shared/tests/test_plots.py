import csv
import subprocess
import sys

import pytest
from reprokit import UserError
from reprokit.plots import COLOURS, colour, new_figure, note, save_figure, scale_note, style

FAMILIES = [
    ["sbs", "dalton", "bdfa", "nalsm", "denram", "published"],
    [
        "bp",
        "fa",
        "dfa",
        "bfa",
        "bdfa",
        "usf",
        "brsf",
        "frsf",
        "kolen-pollack",
        "sign-dfa",
        "drtp",
        "published",
    ],
    ["surrgd", "tfr", "dalton", "rtrl", "published"],
    ["lsm", "lsm-stdp", "lsm-apstdp", "nalsm", "published"],
    ["none", "stdp", "ap-stdp", "astrocyte", "published"],
    ["train", "validation", "test", "published"],
    ["excitatory", "inhibitory", "input"],
]


def drawn(columns=1):
    with style():
        figure, axes = new_figure(1, columns)
        axes[0].plot([1, 2], [3, 4], color=colour("bdfa"), label="bdfa")
        axes[0].set(xlabel="epoch", ylabel="error, %")
        axes[0].legend()
    return figure


def test_importing_the_module_does_not_load_matplotlib():
    code = "import sys, reprokit.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_meets_in_a_figure_has_different_colours(family):
    assert len({colour(role) for role in family}) == len(family)


def test_an_unknown_role_is_refused_with_the_nearest():
    with pytest.raises(
        UserError, match=r"no colour for 'bdaf' \(did you mean 'bdfa'\?\); choose one of bp, "
    ):
        colour("bdaf")
    assert COLOURS["published"] == "#999999"


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(UserError, match="figures need matplotlib; install it with: pip install matplotlib"):
        new_figure()


def test_sizes_and_axes():
    figure, axes = new_figure(2, 3, width="page", sharex=True)
    assert figure.get_size_inches().tolist() == pytest.approx([6.9, 2 * 0.7 * 2.3])
    assert len(axes) == 6
    assert new_figure(height=2.0)[0].get_size_inches().tolist() == pytest.approx([3.35, 2.0])
    assert figure.get_layout_engine() is not None
    assert axes[0].xaxis.label.get_fontsize() == 8


def test_the_callers_own_settings_come_back():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["font.size"] == 8
    save_before = dict(mpl.rcParams)
    assert save_before == before


def test_png_pdf_and_numbers_are_written_and_equal_bytes_twice(tmp_path):
    table = [{"epoch": 1, "error": 0.5}, {"epoch": 2, "rule": "bp"}]
    for folder in ("a", "b"):
        files = save_figure(drawn(), tmp_path / folder / "errors-lr0.1", table=table)
        assert [file.name for file in files] == [
            f"errors-lr0.1.{kind}" for kind in ("png", "pdf", "svg", "csv")
        ]
        assert sorted(files) == sorted((tmp_path / folder).iterdir())
    for file in files:
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()
    with files[3].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows == [{"epoch": "1", "error": "0.5", "rule": ""}, {"epoch": "2", "error": "", "rule": "bp"}]
    assert b"CreationDate" not in files[1].read_bytes()
    assert b"/FontFile2" in files[1].read_bytes()
    header = files[0].read_bytes()[:24]
    assert int.from_bytes(header[16:20], "big") == 1005


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_suffix_writes_that_one_file(tmp_path, suffix):
    first = save_figure(drawn(), tmp_path / f"f{suffix}")
    second = save_figure(drawn(), str(tmp_path / f"g{suffix}"))
    assert [file.suffix for file in (*first, *second)] == [suffix] * 2
    assert first[0].read_bytes() == second[0].read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has the suffix .jpg; use .png, .pdf, .svg, or none"):
        save_figure(drawn(), tmp_path / "f.jpg")
    assert not list(tmp_path.iterdir())


def test_a_figure_says_inside_what_data_it_shows():
    assert scale_note("mnist", "paper") == "mnist"
    assert scale_note("cifar10-jpeg", "reduced") == "cifar10-jpeg, scale reduced"
    _, (axes,) = new_figure()
    note(axes, "", scale_note("digits", "smoke"), "bars: 1 SD", corner="bottom")
    (text,) = axes.texts
    assert text.get_text() == "digits, scale smoke\nbars: 1 SD"
    assert text.get_position()[1] < 0.5
