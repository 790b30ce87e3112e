"""Every option of every command has an effect, is refused, or is listed with the reason why not."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sbs.cli import main

NETWORK = """
test_every = 1
[data]
limit_train = 60
limit_test = 20
[augmentation]
crop = 0
[network]
number_of_spikes = 12
[learning]
updates = 3
batch_size = 8
batches_per_update = 1
[[network.layers]]
neurons = 4
kernel = [3, 3]
LEARN
[[network.layers]]
neurons = 10
kernel = [6, 6]
LEARN
"""
EPS, MIXED, OWN = "eps.toml", "--learning.loss mixed", "--data.source colour.npz"
LONG = "--learning.updates 8 --learning.schedule-every 1 --learning.weight-rate 0.5"
SBS = f"{LONG} --learning.schedule sbs"
FILES = "--start.weight-path files/Weights --start.epsilon-path files/EpsXY"
WITHOUT_IT_REFUSED = ("augmentation.crop", "start.step")
# Option of `train`: what is given, and the rest of the command, which is run without and with it.
ACTS = {
    "augmentation.brightness": ("0.9", ""), "augmentation.contrast": ("0.9", ""),
    "augmentation.crop": ("1", "--data.source wide.npz"),
    "augmentation.flip": ("0.5", ""), "augmentation.hue": ("0.5", OWN), "augmentation.saturation": ("0.9", OWN),
    "augmentation.once-per-batch": ("", "--augmentation.flip 0.5"),
    "data.limit-test": ("10", ""), "data.limit-train": ("30", ""), "data.offset": ("0.5", ""), "data.on-off": ("", ""),
    "data.source": ("colour.npz", ""),
    "learning.batch-size": ("9", ""), "learning.batches-per-update": ("2", ""),
    "learning.constraint": ("norm-first", "--learning.optimizer adam --learning.weight-rate 0.9"),
    "learning.epsilon-factor": ("0.1", f"{EPS} --learning.epsilon-patience 1 {LONG} --learning.epsilon-rate 9"),
    "learning.epsilon-patience": ("1", f"{EPS} {LONG} --learning.epsilon-rate 9"),
    "learning.epsilon-rate": ("0.5", EPS),
    "learning.epsilon-tau": ("2", f"{EPS} {SBS} --learning.epsilon-patience 5"),
    "learning.epsilon-threshold": ("2", EPS),
    "learning.kl-weight": ("9", MIXED), "learning.mse-weight": ("9", MIXED), "learning.loss-form": ("v1", MIXED),
    "learning.loss": ("mixed", ""), "learning.optimizer": ("adam", ""),
    "learning.schedule": ("cosine", LONG), "learning.schedule-every": ("2", f"{LONG} --learning.schedule cosine"),
    "learning.schedule-on-error": ("", SBS), "learning.updates": ("4", ""),
    "learning.weight-factor": ("0.1", f"{LONG} --learning.weight-patience 1"),
    "learning.weight-patience": ("1", LONG), "learning.weight-rate": ("0.5", ""), "learning.weight-tau": ("2", SBS),
    "learning.weight-threshold": ("0.1", ""),
    "learning.no-weight-threshold-per-channel": ("", "--learning.weight-threshold 0.01"),
    "network.alpha-iterations": ("1", ""), "network.cooldown-after": ("3", ""),
    "network.cooldown-reduction": ("2", "--network.cooldown-after 3"), "network.epsilon-0": ("0.5", ""),
    "network.epsilon-per-kernel": ("", EPS), "network.epsilon-t": ("constant", ""), "network.epsilon-xy": ("0.2", ""),
    "network.exponent": ("1", ""), "network.forgetting-offset": ("0.5", ""), "network.gradient": ("v1", EPS),
    "network.number-of-spikes": ("13", ""), "network.weight-noise": ("0.9", ""),
    "profile": ("faithful", "--augmentation.flip 0.5"), "seed": ("3", ""),
    "start.overload": ("files", ""), "start.step": ("2", FILES),
    "start.weight-path": ("other/Weights", f"--start.step 2 {FILES}"),
    "start.epsilon-path": ("other/EpsXY", f"--start.step 2 {FILES}"),
    "test-every": ("2", ""), "no-test-during-learning": ("", ""),
}  # fmt: skip
SAME = {
    "checkpoint-every": "a run continues from another place with the same bits (test_training)",
    "device": "the CPU is what auto takes; a GPU that is not there is refused",
    "dialect": "of the original's .json files, refused elsewhere; test_config",
    "engine": "both engines draw the same spikes; test_kernel",
    "force": "deletes a run that is there; test_cli",
    "name": "names the folder and the ledger row",
    "out": "where the files go",
    "resume": "refuses a folder with a run; test_cli",
    "tensorboard": "writes event files besides; test_tracking",
    "threads": "results do not depend on threads; test_kernel",
}
READERS = {  # option: two uses whose table or figures must differ ("": left out); None: test_cli or the reason above
    "evaluate": {
        "batch-size": None, "data": ("digits", "grey.npz"), "device": None, "engine": None,
        "epsilon-0": ("0.1", "9"), "limit": ("5", "15"),
        "number-of-spikes": ("1", "300"), "out": None, "seed": ("1", "2"), "split": ("test", "train"),
        "step": None, "threads": None, "which": None,
    },
    "spikes": {
        "batch-size": None, "counts": ("1", "300"), "data": ("digits", "grey.npz"), "device": None, "engine": None,
        "epsilon-0": ("0.1", "9"), "limit": ("5", "15"), "out": None, "seed": ("1", "2"), "step": None, "threads": None,
        "which": None,
    },
    "plot": {
        "data": ("", "grey.npz"), "format": ("", "svg"), "image": ("", "3"), "images": ("", "3"),
        "out": None, "which": None,
    },
    "export": {"out": None, "step": ("1", "2"), "to": ("original", "npz")},
    "reproduce": dict.fromkeys(
        ("again", "data", "dry-run", "jobs", "only", "out", "retries", "scale", "scheduler", "scheduler-config",
         "seeds", "skip", "threads", "weights")
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with configurations, own data, weight files of the original's form, and finished runs."""
    folder = tmp_path_factory.mktemp("options")
    for name, learn in (("plain.toml", ""), (EPS, "learn_epsilon = true")):
        (folder / name).write_text(NETWORK.replace("LEARN", learn))
    rng = np.random.default_rng(0)
    for name, shape in (("colour", (8, 8, 3)), ("grey", (8, 8)), ("wide", (10, 10))):
        labels = np.arange(100) % 10
        pictures = rng.integers(0, 255, (100, *shape), np.uint8)
        parts = {"train_images": pictures, "train_labels": labels, "test_images": pictures[:40]}
        np.savez(folder / f"{name}.npz", **parts, test_labels=labels[:40])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "plain.toml", "--out", "run"]) == 0
        for number, out in ((3, "files"), (4, "other")):
            assert main(["train", EPS, "--seed", str(number), "--out", f"run{number}"]) == 0
            assert main(["export", f"run{number}", "--out", out, "--step", "2"]) == 0
            for file in [*Path(out).rglob("*.npy")]:
                (Path(out) / file.name).write_bytes(file.read_bytes())  # where start.overload looks
    return folder


@pytest.fixture
def train(place, monkeypatch):
    """Train in a folder named by the command, once, and return everything that was computed."""
    monkeypatch.chdir(place)

    def run(words: list[str]) -> dict[str, bytes]:
        words = words if words[:1] == [EPS] else ["plain.toml", *words]
        out = Path("runs") / re.sub(r"[^\w.-]+", "_", " ".join(words))
        assert main(["train", *words, "--out", str(out)]) == 0
        log = re.sub(r'"(test_)?seconds": [^,}]*', "", (out / "metrics.jsonl").read_text())
        weights = {name: value.numpy().tobytes() for name, value in load(out).items()}
        return {"log": log.encode(), **weights}

    return run


def load(run: Path) -> dict[str, torch.Tensor]:
    from sbs import load_model

    return {
        name: value
        for name, value in load_model(run).network.state_dict().items()
        if name.endswith(("weights", "xy"))
    }


def options(command: str, capsys) -> set[str]:
    assert main([command, "--help"]) == 0
    found = set(re.findall(r"--([a-z][a-z0-9.-]*[a-z0-9])", capsys.readouterr().out))
    return {re.sub(r"(^|\.)no-", r"\1", name) for name in found} - {"help"}


def test_no_option_is_left_out(capsys):
    assert options("train", capsys) == {re.sub(r"(^|\.)no-", r"\1", name) for name in (*ACTS, *SAME)}
    for command, uses in READERS.items():
        assert options(command, capsys) == set(uses), command


@pytest.mark.parametrize("name", ACTS)
def test_an_option_of_train_acts(train, name):
    given, rest = ACTS[name]
    words = rest.split()
    found = train([*words, f"--{name}", *given.split()])
    if name in WITHOUT_IT_REFUSED:
        assert main(["train", "plain.toml", "--out", "never", *words]) == 2
    else:
        assert found != train(words)


@pytest.mark.parametrize(
    "flags", ["--engine reference", "--threads 2", "--device cpu", "--checkpoint-every 1", "--name other"]
)
def test_how_it_is_computed_changes_nothing(train, flags):
    found, base = train(flags.split()), train([])
    if "reference" not in flags:
        assert found == base
        return
    for name in base.keys() - {"log"}:
        ours, theirs = (np.frombuffer(values[name], np.float32) for values in (found, base))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "flags",
    [
        "--learning.epsilon-rate 0.1", "--learning.epsilon-patience=3", "--network.epsilon-per-kernel",
        "--learning.mse-weight 2", "--learning.loss-form v1", "--learning.weight-tau 3",
        "--learning.schedule none --learning.schedule-every 3",
        "--learning.schedule cosine --learning.schedule-on-error",
        "--network.epsilon-t constant --network.exponent 2", "--network.cooldown-reduction 2",
        "--network.epsilon-t constant --network.cooldown-after 2", "--data.on-off --data.offset 0.1",
        "--no-test-during-learning --test_every 2", "--start.weight-path files", "--start.epsilon-path files",
    ],
)  # fmt: skip
def test_an_option_without_effect_is_refused(place, monkeypatch, capsys, flags):
    monkeypatch.chdir(place)
    assert main(["train", "plain.toml", "--out", "refused", *flags.split()]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"error: --[a-z0-9.-]+ would have no effect, because .*; leave it out or change that\n", said
    ), said
    assert not Path("refused").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train plain.toml --out refused --dialect v1", "--dialect is about"),
        ("train plain.toml --out refused --device cuda:99", "cuda:99"),
        ("train plain.toml --out refused --augmentation.hue 0.1", "the images are grey"),
        ("evaluate run --step 3", "--step is about"),
        ("spikes run --step 3", "--step is about"),
        ("evaluate run --epsilon-0 0", "epsilon_0"),
        ("export run --out x.npz --to npz --step 2", "an .npz has none"),
    ],
)
def test_what_does_not_belong_there_is_refused(place, monkeypatch, capsys, command, words):
    monkeypatch.chdir(place)
    assert main(command.split()) == 2
    assert words in capsys.readouterr().err
    assert not Path("refused").exists()


def files(place: Path) -> dict[str, bytes]:
    """The content of a folder, or of the file of that name."""
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    return {file.name: file.read_bytes() for file in found if file.is_file()}


@pytest.fixture(scope="module")
def plotted(place):
    """The figures of the run of the test data, of two images, as .png: what options of `plot` change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["plot", "run", "--images", "2", "--out", "plotted"]) == 0
    return files(place / "plotted")


@pytest.mark.parametrize(
    ("command", "name"), [(c, n) for c, uses in READERS.items() for n, values in uses.items() if values]
)
def test_an_option_of_a_reader_acts(place, plotted, tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(place)
    small = {"spikes": ["--counts", "3"], "plot": ["--images", "2"]}.get(command, [])
    seen = []
    for number, value in enumerate(READERS[command][name] or ()):
        if not value:
            seen.append(plotted)
            continue
        folder = tmp_path / str(number)
        out = folder / "table.csv" if command == "evaluate" else folder
        words = [] if name in ("counts", "images") else small
        assert main([command, "run", *words, "--out", str(out), f"--{name}", value]) == 0
        capsys.readouterr()
        found = files(folder)
        seen.append(
            {k: re.sub(rb",[\d.]+\n", b"", v) for k, v in found.items()} if command == "spikes" else found
        )
    assert all(seen)
    assert seen[0] != seen[1]
