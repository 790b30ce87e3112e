"""Every option of every command has an effect or is refused; those that change no number are listed with the reason."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from bdfa import cli
from bdfa.config import TrainConfig
from bdfa.formats.lua_flags import FLAGS, OURS, parse_flags

SMALL = "train smoke --train-size 96 --hidden 8 --epochs 1 --no-plot --rule bdfa"
CONV = "bdfa.example_networks:small_conv"
# option: (what is given, the rest of the command, without and with it)
ACTS: dict[str, tuple[str, str]] = {
    "rule": ("--rule dfa", ""),
    "profile": ("--profile faithful", "--epochs 3"),
    "seed": ("--seed 2", ""),
    "order_seed": ("--order-seed 5", ""),
    "model": (f"--model {CONV}", ""),
    "hidden": ("--hidden 9", ""),
    "act": ("--act sigmoid", ""),
    "bias": ("--no-bias", ""),
    "batchnorm": ("--batchnorm all", ""),
    "dropout": ("--dropout full", ""),
    "p_in": ("--p-in 0.2", ""),
    "p_hidden": ("--p-hidden 0.2", ""),
    "p_conv": ("--p-conv 0.2", "--model conv --rule dfa --train-size 32 --init uniform --dataset OWN"),
    "init": ("--init uniform", ""),
    "fb_scale": ("--fb-scale 0.5", ""),
    "fb_dist": ("--fb-dist normal", ""),
    "fb_lr": ("--fb-lr 0.1", ""),
    "fb_target": ("--fb-target code", "--fb-lr 0.1"),
    "fb_alpha": ("--fb-alpha 0.9", "--fb-lr 0.1 --fb-target paper"),
    "fb_loss": ("--fb-loss mse", "--fb-lr 0.1"),
    "fb_order": ("--fb-order simultaneous", "--rule bfa --epochs 2"),
    "fb_output": ("--fb-output sigmoid", "--rule bfa --epochs 2"),
    "loss": ("--loss ce", ""),
    "reduction": ("--reduction mean", "--optim sgd"),
    "optim": ("--optim sgd", ""),
    "lr": ("--lr 0.01", ""),
    "lr_decay": ("--lr-decay 0.5", "--optim sgd"),
    "lr_step": ("--lr-step 1", "--epochs 2"),
    "weight_decay": ("--weight-decay 0.1", ""),
    "decay_bias": ("--no-decay-bias", "--weight-decay 0.1"),
    "momentum": ("--momentum 0.5", "--optim sgd"),
    "dampening": ("--dampening 0", "--optim sgd --momentum 0.5"),
    "max_norm_in": ("--max-norm-in 0.05", "--epochs 2"),
    "max_norm_out": ("--max-norm-out 0.05", "--epochs 2"),
    "batch_size": ("--batch-size 16", ""),
    "drop_last": ("--drop-last", "--batch-size 36"),
    "epochs": ("--epochs 2", ""),
    "adv_eps": ("--adv-eps 0.1", ""),
    "adv_mode": ("--adv-mode accumulate", "--adv-eps 0.1"),
    "adv_clean_rule": ("--adv-clean-rule same", "--adv-eps 0.1 --adv-mode accumulate"),
    "dataset": ("--dataset OWN", ""),
    "val_split": ("--val-split 10", ""),
    "train_size": ("--train-size 64", ""),
    "normalize": ("--normalize simple", ""),
    "zero_variance": ("--zero-variance one", "--normalize channel --dataset FLAT"),
    "color": ("--color yuv", "--dataset OWN"),
    "whiten": ("--whiten pca", "--dataset OWN"),
    "augment": ("--augment", ""),
    "dtype": ("--dtype float64", ""),
    "init_from": ("--init-from RUN", ""),
    "resume": ("--continue-from RUN", "--epochs 2"),
}  # fmt: skip
# option: (what is given, why no number changes, the file of the run that tells of it)
NO_NUMBER: dict[str, tuple[str, str, str]] = {
    "data_dir": ("--dataset mnist --data-dir FOLDER", "where downloaded data lie; the refusal names it", ""),
    "cache_dir": ("--cache-dir CACHE", "keeps the statistics of the images", "../CACHE/*.npz"),
    "engine": ("--engine module", "both engines give the same numbers", ""),
    "device": ("--device cpu", "where it computes", ""),
    "threads": ("--threads 1", "how fast it computes", ""),
    "compile": ("--compile", "how fast it computes (its own test, slow)", ""),
    "angles_every": ("--angles-every 1", "measures beside the training", "angles.csv"),
    "checkpoint_steps": ("--checkpoint-steps 1", "how much a killed run loses", "checkpoints/*2*"),
    "out": ("--out ELSEWHERE", "where the run is kept", "../ELSEWHERE/config.json"),
    "visualize": ("--visualize", "draws after every epoch", "errors.png"),
    "plot": ("--plot", "draws at the end", "errors.png"),
    "rule_source": ("", "no flag: set by itself (test_own_rules)", ""),
    "revision": ("", "no flag: which numbers a run of own data was made with", ""),
}  # fmt: skip
# what would do nothing: option, the words that make it idle, what the sentence says
IDLE = [
    ("--hidden 9", f"--model {CONV}", "has its own widths"),
    ("--no-bias", f"--model {CONV}", "your own"),
    ("--batchnorm all", f"--model {CONV}", "your own"),
    ("--batchnorm conv2", "", "no convolution"),
    ("--dropout conv", "", "no convolution"),
    ("--dropout full", f"--model {CONV}", "your own"),
    ("--p-in 0.2", f"--model {CONV}", "your own"),
    ("--p-hidden 0.2", f"--model {CONV}", "your own"),
    ("--p-conv 0.2", "", "for --model conv"),
    ("--act relu", f"--model {CONV} --rule bp", "your own"),
    ("--init zero", "--rule bp", "start at zero"),
    ("--fb-scale 1", "--rule bp", "no feedback"),
    ("--fb-dist normal", "--rule fa", "for dfa"),
    ("--fb-lr 0.1", "--rule dfa", "for bdfa and bfa"),
    ("--fb-target code", "--rule dfa", "for bdfa"),
    ("--fb-loss mse", "--rule dfa", "for bdfa"),
    ("--fb-alpha 0.5", "", "--fb-target code"),
    ("--fb-order simultaneous", "", "for bfa"),
    ("--fb-output sigmoid", "", "for bfa"),
    ("--lr 0.5", "--optim rprop", "sets its own step size"),
    ("--no-decay-bias", "", "no --weight-decay"),
    ("--dampening 0.1", "", "--momentum"),
    ("--adv-mode accumulate", "", "no --adv-eps"),
    ("--adv-clean-rule same", "--adv-eps 0.1", "accumulate"),
    ("--normalize simple", "--whiten zca", "--whiten takes its place"),
    ("--zero-variance one", "", "--normalize image"),
    ("--data-dir FOLDER", "", "not downloaded"),
    ("--cache-dir CACHE", "--normalize none", "nothing is fitted"),
    ("--momentum 0.5", "", "no effect with --optim rmsprop"),
    ("--lr-decay 0.5", "", "no effect with --optim rmsprop"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, own images, and images of which one channel never varies."""
    folder = tmp_path_factory.mktemp("options")
    drawn = np.random.default_rng(0)
    for name, flat in (("OWN", False), ("FLAT", True)):
        parts = {
            f"{part}_images": drawn.integers(0, 256, (96, 3, 16, 16), dtype=np.uint8)
            for part in ("train", "test")
        }
        for images in parts.values():
            images[:, 1] = 7 if flat else images[:, 1]
        labels = {f"{part}_labels": np.arange(96) % 3 for part in ("train", "test")}
        np.savez(folder / f"{name}.npz", **parts, **labels)
    (folder / "FOLDER" / "mnist").mkdir(parents=True)
    (folder / "FOLDER" / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"other")
    assert cli.main([*words_of(SMALL, folder), "--out", str(folder / "RUN")]) == 0
    return folder


def words_of(text: str, folder: Path) -> list[str]:
    paths = {
        "RUN": "RUN",
        "OWN": "OWN.npz",
        "FLAT": "FLAT.npz",
        "FOLDER": "FOLDER",
        "CACHE": "CACHE",
        "ELSEWHERE": "ELSEWHERE",
    }
    return [str(folder / paths[word]) if word in paths else word for word in text.split()]


def without_hidden(text: str) -> str:
    """A network that is not a perceptron refuses its widths."""
    return text.replace("--hidden 8 ", "") if "--model" in text or "--hidden 9" in text else text


def run(text: str, folder: Path, out: Path) -> tuple[int, list]:
    """Exit code, and every number of the run: its log and its weights."""
    code = cli.main([*words_of(without_hidden(text), folder), "--out", str(out)])
    if code:
        return code, []
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("seconds", None)
    return code, [{**record, "kind": 0} for record in records if record["kind"] == "epoch"]


def test_every_option_of_a_run_is_walked():
    assert {field.name for field in fields(TrainConfig)} == ACTS.keys() | NO_NUMBER.keys()
    assert not ACTS.keys() & NO_NUMBER.keys()


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.filterwarnings("ignore:the fast engine", "ignore:BDFA with target", "ignore:no training sample")
def test_an_option_acts(name, place, tmp_path, monkeypatch):
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    given, rest = ACTS[name]
    base = " ".join(word for word in [SMALL, rest] if word)
    results = [run(base, place, tmp_path / "without"), run(f"{base} {given}", place, tmp_path / "with")]
    if name == "zero_variance":
        assert results[0][0] == 2
        results.pop(0)
    assert all(code == 0 for code, _ in results)
    if len(results) == 2:
        assert results[0][1] != results[1][1]


@pytest.mark.parametrize(
    "name", [name for name, (given, _, _) in NO_NUMBER.items() if given and name != "compile"]
)
@pytest.mark.filterwarnings("ignore:the fast engine")
def test_what_changes_no_number_leaves_its_trace(name, place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    given, _, trace = NO_NUMBER[name]
    if name == "out":
        assert cli.main([*words_of(f"{SMALL} {given}", place)]) == 0
        assert (place / "ELSEWHERE" / "config.json").exists()
        return
    out = place / f"with-{name}"
    code, found = run(f"{SMALL} {given}", place, out)
    if name == "data_dir":
        assert code == 2
        assert "FOLDER" in capsys.readouterr().err
        return
    plain = run(SMALL, place, place / "plain")[1]
    for ours, theirs in zip(found, plain, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert not trace or list(out.glob(trace)) or list(place.glob(trace.removeprefix("../")))


@pytest.mark.parametrize(("given", "rest", "words"), IDLE)
def test_what_would_do_nothing_is_refused(given, rest, words, place, tmp_path, capsys):
    text = without_hidden(f"{SMALL} {rest} {given}")
    assert cli.main([*words_of(text, place), "--out", str(tmp_path / "run")]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_table_takes_what_acts_for_one_of_its_rules(place, tmp_path, capsys):
    ledger = tmp_path / "results.csv"
    base = f"table smoke --train-size 96 --epochs 1 --nets 1x8 --seeds 1 --ledger {ledger} --fb-lr 0.1"
    assert cli.main([*base.split(), "--rules", "bp", "dfa"]) == 2
    assert "for bdfa and bfa" in " ".join(capsys.readouterr().err.split())
    assert cli.main([*base.split(), "--rules", "bp", "bdfa"]) == 0


def test_a_run_that_is_there_goes_on_with_the_options_it_has(tmp_path):
    """A run of an earlier version may have options that do nothing."""
    import bdfa

    config = TrainConfig(
        dataset="digits", hidden=(8,), train_size=96, epochs=1, rule="dfa", fb_lr=0.1, plot=False
    )
    bdfa.train(replace(config, out=tmp_path / "run"))
    assert cli.main(["train", str(tmp_path / "run"), "--out", str(tmp_path / "run")]) == 0


TH = {
    "modelsFolder": ("./Other/", "the folder of the original's network files; networks are built in here"),
    "network": ("conv", ""), "criterion": ("ce", ""), "eps": ("0.1", ""), "dropout": ("1", ""), "batchnorm": ("1", ""),
    "nonlin": ("relu", ""), "num_layers": ("3", ""), "num_hidden": ("9", ""), "bias": ("0", ""), "rfb_mag": ("1", ""),
    "LR": ("0.1", ""), "LRDecay": ("0.1", ""), "weightDecay": ("0.1", ""), "momentum": ("0.1", ""),
    "batchSize": ("9", ""), "optimization": ("sgd", ""), "epoch": ("9", ""), "epoch_step": ("3", ""),
    "gradient": ("bp", ""), "maxInNorm": ("3", ""), "maxOutNorm": ("3", ""), "accGradient": ("1", ""),
    "threads": ("1", ""), "type": ("float", ""), "devid": ("2", ""), "nGPU": ("1", "the one number it may be"),
    "constBatchSize": ("true", ""), "load": ("RUN", ""), "save": ("OUT", ""), "dataset": ("Cifar10", ""),
    "datapath": ("FOLDER", ""), "normalization": ("simple", ""), "format": ("yuv", ""), "whiten": ("true", ""),
    "augment": ("true", ""), "preProcDir": ("CACHE", ""), "validate": ("true", ""), "visualize": ("1", ""),
    "seed": ("2", ""), "program": ("dfa-torch", ""), "zero-variance": ("one", ""),
}  # fmt: skip


def test_every_word_of_the_original_reaches_an_option():
    """The options it sets are tested above."""
    assert TH.keys() == FLAGS.keys() | OURS.keys()
    for name, (value, reason) in TH.items():
        assert (parse_flags([f"-{name}", value]) == parse_flags([])) == bool(reason), name


def options_of(command) -> set[str]:
    return set(inspect.signature(command).parameters)


def test_every_option_of_the_other_commands_is_walked():
    """A new option needs a line in the test below."""
    assert options_of(cli.evaluate) == {
        "runs",
        "data",
        "split",
        "which",
        "engine",
        "device",
        "threads",
        "out",
    }
    assert options_of(cli.plot) == {"runs", "out", "format"}
    assert options_of(cli.generate) == {"run", "out", "data", "data_dir"}
    assert options_of(cli.export) == {"run", "to", "out", "which"}
    assert options_of(cli.info) == {"run"}
    names = {field.name for field in fields(cli.TableOptions)}
    assert names == {"rules", "nets", "seeds", "ledger"}  # those of the workers: shared tests
    assert {field.name for field in fields(cli.StudyOptions)} == {"nets", "epochs", "runs"}
    assert options_of(cli.train) == options_of(cli.angles) == {"config", "data", "resume", "force"}


@pytest.mark.slow
def test_the_options_of_the_other_commands_act(place, tmp_path, capsys, monkeypatch):
    """`table` and `reproduce` are tested in test_cli and test_reproduce; train's own three in test_cli."""
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    trained = str(place / "RUN")

    def said(*words: str, code: int = 0) -> str:
        assert cli.main([*words]) == code
        captured = capsys.readouterr()
        return " ".join((captured.out + captured.err).split())

    plain = said("evaluate", trained)
    assert said("evaluate", trained, "--split", "train") != plain
    assert "validation" in said("evaluate", trained, "--split", "validation", code=2)
    assert "no best checkpoint" in said("evaluate", trained, "--which", "best", code=2)
    assert "images of shape" in said("evaluate", trained, "--data", str(place / "OWN.npz"), code=2)
    assert said("evaluate", trained, "--engine", "module", "--threads", "1", "--device", "cpu") == plain
    assert "cuda" in said("evaluate", trained, "--device", "tpu", code=2)
    assert "--threads is 0" in said("evaluate", trained, "--threads", "0", code=2)
    said("evaluate", trained, "--out", str(tmp_path / "numbers.csv"))
    assert (tmp_path / "numbers.csv").exists()
    said("plot", trained, "--out", str(tmp_path / "figures"), "--format", "svg")
    assert list((tmp_path / "figures").glob("*.svg"))
    said("export", trained, "--to", "npz", "--out", str(tmp_path / "weights.npz"))
    assert (tmp_path / "weights.npz").exists()
    assert "no best checkpoint" in said("export", trained, "--which", "best", code=2)
    assert "data sets: mnist" in said("info")
    assert "run id" in said("info", trained)
    said(*SMALL.replace("bdfa", "bfa").split(), "--out", str(tmp_path / "bfa"))
    said("generate", str(tmp_path / "bfa"), "--out", str(tmp_path / "made.png"))
    assert (tmp_path / "made.png").exists()
    both = ("--data", str(place / "FOLDER"), "--data-dir", "x")
    assert "--data and --data-dir" in said("generate", str(tmp_path / "bfa"), *both, code=2)
