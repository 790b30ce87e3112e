"""Every option of every command has an effect, is refused, or is listed with the reason why not."""

import csv
import re
import shlex
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from denram import cli
from denram.config import TrainConfig

BASE = {
    "data": "spoken-toy",
    "n-in": "32",
    "n-delays": "2",
    "nb-epochs": "3",
    "batch-size": "80",
    "devices": "2",
}
RESULT = (
    "weights.npy",
    "delays.npy",
    "metrics.jsonl",
    "summary.json",
)  # files that name no option and hold no time
BEATS = "--data heartbeat-toy --n-in 4 --steps 140 --duration 0.7 --batch-size 16"
# Another value of each option of `train`, with what else it takes to show.
OTHER = {
    "data": "OWN", "profile": "faithful --devices 10", "n-in": "16", "n-delays": "3", "n-out": "12", "seed": "1",
    "r-mu": "1e11", "r-std": "0.1", "tau-mem": "5e-3", "noise-std": "0.3", "nb-epochs": "2", "lr": "1e-2",
    "batch-size": "50",
    "dt": "0.01 --steps 140", "steps": "50", "duration": "1.0", "max-delay": "50", "cap": "1e-13", "w-scale": "1.0",
    "distribution": "uniform", "patience": "1 --lr 1e-7", "validation": "0.4", "devices": "3",
    "channels": "70 --data OWN --n-in 35 --allow-loss", "time-unit": "ms --data OWN --allow-loss",
    "start": "first-event --data OWN", "engine": "fft", "levels": f"0.2 {BEATS}",
}  # fmt: skip
SAME = {
    "engine": "engines agree to rounding; the id and the first line name it",
    "threads": "results do not depend on threads",
    "device": "the CPU is what auto takes here; a GPU that is not there is refused",
    "out": "where the files go",
    "resume": "refuses a folder with a run, see below",
    "force": "deletes a run that is there, see below",
    "allow-loss": "turns a refusal into a warning, see below",
}
ELSEWHERE = {  # they act on delays that learn and on hidden layers: test_stacked_training
    "train-delays", "sigma", "lr-delays", "layers", "hidden", "hidden-scale", "recurrent",
}  # fmt: skip
# Options of the other commands: two uses whose output or files must differ; None: the same, with the reason.
READERS = {
    "evaluate": {
        "noise-std": ("0", "0.5"), "devices": ("1", "4"), "data": ("spoken-toy", "OWN"), "split": ("test", "train"),
        "which": None,  # the last epoch may be the best; test_cli reads both
        "engine": None, "threads": None, "device": None,  # the same numbers, see above
        "out": ("FOLDER/a.csv", "FOLDER/b.csv"),
    },
    "plot": {
        "data": ("spoken-toy", "OWN"), "figures": ("curves", "confusion"), "format": ("png", "svg"),
        "out": ("FOLDER/a", "FOLDER/b"),
    },
    "export": {"to": None, "out": ("FOLDER/a", "FOLDER/b")},  # one format so far
}  # fmt: skip
REPRODUCE = {  # where each option is tested
    "again": "shared tests of the study", "data": "test_own_data", "device": "below", "engine": "below",
    "expected": "test_reproduce", "jobs": "test_reproduce", "only": "test_reproduce", "out": "test_reproduce",
    "profile": "test_reproduce", "scale": "test_reproduce", "seeds": "test_reproduce", "threads": "test_reproduce",
    "together": "test_together",
    **dict.fromkeys(("dry-run", "retries", "scheduler", "scheduler-config", "skip"), "shared tests of the study"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with own data of 32 channels and, as `base`, the run with which all others are compared."""
    folder = tmp_path_factory.mktemp("options")
    rng = np.random.default_rng(0)
    (folder / "own").mkdir()
    for part in ("train", "test"):
        with h5py.File(folder / "own" / f"shd_{part}.h5", "w") as file:
            times = file.create_dataset("spikes/times", (200,), h5py.vlen_dtype(np.float32))
            units = file.create_dataset("spikes/units", (200,), h5py.vlen_dtype(np.uint16))
            for index in range(200):
                times[index] = np.sort(rng.uniform(0.05, 0.7, 64)).astype(np.float32)
                units[index] = (rng.permutation(64) // 2).astype(np.uint16)
            file["labels"] = np.arange(200) % 10
    assert train(folder, "base") == 0
    assert train(folder, "own-base", "--data OWN") == 0
    assert train(folder, "beats-base", BEATS) == 0
    return folder


def train(folder: Path, name: str, flags: str = "", base: dict[str, str] = BASE) -> int:
    given = shlex.split(flags.replace("OWN", str(folder / "own")))
    defaults = [
        word for key, value in base.items() if f"--{key}" not in given for word in (f"--{key}", value)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of losses that are allowed
        return cli.main(["train", *defaults, "--out", str(folder / name), *given])


def result(folder: Path) -> dict[str, bytes]:
    """What a run computed."""
    return {name: (folder / name).read_bytes() for name in RESULT}


def options(command: str, capsys) -> set[str]:
    assert cli.main([command, "--help"]) == 0
    found = set(re.findall(r"--([a-z][a-z-]*)", capsys.readouterr().out))
    return {name for name in found if name != "help" and not name.startswith("no-")}


def test_no_option_is_left_out(capsys):
    assert options("train", capsys) == {*OTHER, *SAME, *ELSEWHERE}
    assert len(options("train", capsys)) == len(TrainConfig.__dataclass_fields__)
    for command, uses in READERS.items():
        assert options(command, capsys) == set(uses), command
    assert options("reproduce", capsys) == set(REPRODUCE)


@pytest.mark.parametrize("name", [name for name in OTHER if name not in SAME])
def test_an_option_of_train_acts(place, name):
    assert train(place, name, f"--{name} {OTHER[name]}") == 0
    against = {"levels": "beats-base"} | dict.fromkeys(("channels", "time-unit", "start"), "own-base")
    assert result(place / name) != result(place / against.get(name, "base"))


@pytest.mark.slow
def test_an_engine_and_threads_give_the_same_numbers(place, capsys):
    capsys.readouterr()
    for name, flags in (("fft", "--engine fft"), ("threads", "--threads 2"), ("cpu", "--device cpu")):
        assert train(place, name, flags) == 0
        assert "engine fft" in capsys.readouterr().out or name != "fft"
    base = result(place / "base")
    assert result(place / "threads") == base
    assert result(place / "cpu") == base
    np.testing.assert_allclose(
        np.load(place / "fft" / "weights.npy"), np.load(place / "base" / "weights.npy"), atol=1e-4
    )


def test_what_is_refused(place, capsys):
    for flags, words in (
        ("--device cuda:99", "cuda:99"),
        ("--channels 40", "leave channels"),
        ("--time-unit ms", "leave channels"),
        ("--start first-event", "leave start"),
        ("--data OWN --n-in 8", "--allow-loss"),
        ("--profile faithful --devices 3", "devices is 3"),
        ("--distribution uniform --r-mu 1e11", "r_mu is 1"),
        ("--distribution pattern --cap 1e-11", "cap is 1e-11"),
    ):
        assert train(place, "refused", flags) == 2, flags
        assert words in capsys.readouterr().err
        assert not (place / "refused" / "config.json").exists()
    assert train(place, "allowed", "--data OWN --n-in 8 --allow-loss") == 0


def test_resume_and_force(place, capsys):
    before = result(place / "base")
    assert train(place, "base", "--no-resume") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert train(place, "base", "--seed 3") == 2
    assert result(place / "base") == before
    assert train(place, "forced") == 0
    assert train(place, "forced", "--seed 3 --force") == 0
    assert result(place / "forced") != before


@pytest.mark.parametrize(
    ("command", "name"), [(c, n) for c, uses in READERS.items() for n, values in uses.items() if values]
)
def test_an_option_of_a_reader_acts(place, tmp_path, capsys, command, name):
    seen = []
    for number, value in enumerate(READERS[command][name]):
        folder = tmp_path / str(number)
        folder.mkdir()
        fixed = {"plot": ["--figures", "confusion"], "evaluate": ["--devices", "2", "--noise-std", "0.3"]}
        words = [] if name in ("figures",) else fixed.get(command, [])
        out = [] if name == "out" else ["--out", str(folder / ("t.csv" if command == "evaluate" else "t"))]
        use = value.replace("OWN", str(place / "own")).replace("FOLDER", str(folder))
        words = [word for word in words if name not in ("devices", "noise-std")]
        assert cli.main([command, str(place / "base"), *words, *out, f"--{name}", use]) == 0
        said = capsys.readouterr().out.replace(str(folder), "")
        files = {file.name: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
        assert files
        if name == "out":
            return
        seen.append((said if command == "evaluate" else "", files))
    assert seen[0] != seen[1]


def test_engines_of_evaluate_agree(place, tmp_path):
    tables = []
    for flags in ("", "--engine fft", "--threads 2", "--device cpu", "--which last"):
        file = tmp_path / "table.csv"
        words = ["evaluate", str(place / "base"), "--noise-std", "0", "--out", str(file), *flags.split()]
        assert cli.main(words) == 0
        with file.open(newline="") as lines:
            tables.append(list(csv.DictReader(lines)))
    assert tables[1][0]["mean"] == pytest.approx(tables[0][0]["mean"]) or tables[1] == tables[0]
    assert tables[2] == tables[3] == tables[0]


def test_reproduce_hands_engine_and_device_on(tmp_path, capsys):
    assert (
        cli.main(["reproduce", "--device", "cuda:99", "--only", "D2", "--seeds", "1", "--out", str(tmp_path)])
        == 2
    )
    assert "cuda:99" in "".join(capsys.readouterr())
    assert cli.main(["reproduce", "--engine", "none"]) == 2
