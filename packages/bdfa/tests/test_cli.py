"""Command line: commands, presets, the original's spelling, and refusals with exit code 2."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import golden_rules
import numpy as np
import pytest
from bdfa import cli
from bdfa.config import TrainConfig
from bdfa.formats.lua_flags import FLAGS, parse_flags
from bdfa.presets import PRESETS
from bdfa.reproduce.groups import parse_net
from bdfa.reproduce.plan import wanted
from bdfa.reproduce.results import open_ledger
from bdfa.training.runs import open_run
from reprokit import UserError, run_id
from reprokit.config import rebuild

GOLDEN = "bdfa_bce_tanh.npz"
SMOKE = ["--preset", "smoke", "--hidden", "8", "--epochs", "1", "--train-size", "96", "--no-plot"]


def call(*arguments: str) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_help_loads_no_torch():
    program = """
import sys
from bdfa import cli
for words in ("--help", "--version", "train --help", "reproduce --help"):
    assert cli.main(words.split()) == 0, words
    loaded = {"torch", "matplotlib", "scipy"} & sys.modules.keys()
    assert not loaded, (words, loaded)
"""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_train_info_plot_angles_generate(tmp_path, capsys):
    out = tmp_path / "run"
    assert call("angles", *SMOKE, "--rule", "bfa", "--out", out, "--angles-every", "2", "--plot") == 0
    said = capsys.readouterr().out.splitlines()
    count = len(open_run(out).records("epoch"))
    assert [line.partition(":")[0] for line in said[:count]] == [
        f"epoch {epoch} of {count}" for epoch in range(1, count + 1)
    ]
    assert "test error" in said[0]
    assert said[-2].startswith("test error: ")
    assert {"config.json", "summary.json", "errors.png", "angles.png", "angles.csv"} <= {
        p.name for p in out.iterdir()
    }
    header, *rows = (out / "angles.csv").read_text().splitlines()
    assert header.startswith("step,layer,gradient_angle")
    assert {row.split(",")[0] for row in rows} == {"0", "2"}
    assert call("generate", out) == 0
    assert call("plot", out) == 0
    assert call("info", out) == 0
    assert "finished" in capsys.readouterr().out
    assert call("info") == 0


def test_preset_gives_defaults_that_flags_override(monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "_train", lambda config, **_: seen.append(config))
    call("train", "--preset", "paper-mnist-2x800", "--rule", "bfa", "--batch_size", "7")
    assert (seen[0].rule, seen[0].batch_size, seen[0].hidden) == ("bfa", 7, (800, 800))
    assert (seen[0].optim, seen[0].epochs, seen[0].train_size) == ("sgd", 300, 50_000)
    call("train", "--preset=smoke")
    assert seen[1] == PRESETS["smoke"]


def test_words_of_version_0_1_and_repeated_lists(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(cli, "_train", lambda config, **options: seen.append((config, options)))
    assert call("train", "--hidden", "4", "--preset", "smoke", "--resume", tmp_path, "--hidden", "5") == 0
    assert (seen[0][0].dataset, seen[0][0].hidden, seen[0][0].resume) == ("digits", (4, 5), tmp_path)
    assert call("train", "smoke", "--no-resume", "--force", "--data", "mnist") == 0
    assert (seen[1][0].dataset, seen[1][1]) == ("mnist", {"resume": False, "force": True})
    (tmp_path / "digits").mkdir()
    assert call("train", "smoke", "--resume", "--data", tmp_path) == 0
    assert (seen[2][0].dataset, seen[2][0].data_dir, seen[2][1]["resume"]) == ("digits", tmp_path, True)


def test_evaluate_gives_the_numbers_of_training(tmp_path, capsys):
    """Also for networks trained together, by either engine, and with the quirk of augmented test images."""
    for name, options in {
        "fixed": ["--rule", "bfa"],
        "faithful": ["--profile", "faithful", "--augment", "--epochs", "3", "--val-split", "100"],
    }.items():
        run = tmp_path / name
        assert call("train", *SMOKE, "--out", run, *options) == 0
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        for engine in ("fast", "module"):
            table = tmp_path / f"{engine}.csv"
            assert call("evaluate", run, "--engine", engine, "--out", table) == 0
            (row,) = csv.DictReader(table.read_text().splitlines())
            assert float(row["error"]) == last["test_error"]
            assert float(row["loss"]) == pytest.approx(last["test_loss"], rel=1e-5)
    assert (
        call("evaluate", tmp_path / "fixed", tmp_path / "faithful", "--split", "train", "--data", "digits")
        == 0
    )
    said = capsys.readouterr().out
    assert said.count("train error") == 2 + 2
    assert "1437 images of digits" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--which", "best"], "--which last"),
        (["--split", "validation"], "validation"),
        (["--data", "odd.npz"], "(1, 5, 5)"),
        (["--data", "many.npz"], "11"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_evaluate_refuses(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, shape, label in (("odd", (3, 1, 5, 5), 1), ("many", (3, 1, 8, 8), 11)):
        images, labels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape), np.array([0, 1, label])
        np.savez(
            f"{name}.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels
        )
    assert call("train", *SMOKE, "--out", "run") == 0
    capsys.readouterr()
    assert call("evaluate", "run", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_export_and_figures_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("train", *SMOKE, "--out", "run") == 0
    before = sorted((tmp_path / "run").rglob("*"))
    assert call("export", "run") == 0
    with np.load("weights.npz") as arrays:
        assert arrays["0/model.linear1.weight"].shape == (8, 64)
        assert arrays["0/feedback.B1"].shape == (10, 8)
    assert call("plot", "run", "--format", "svg", "--out", "figures") == 0
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"errors.svg", "errors.csv"}
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_default_run_directory_no_resume_and_force(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("train", *SMOKE) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == f"bdfa-{run_id(json.loads((run / 'config.json').read_text()))}"
    assert json.loads((run / "options.json").read_text())["plot"] is False
    assert call("train", *SMOKE, "--no-resume") == 2
    assert "holds a run already" in capsys.readouterr().err
    (run / "mine.txt").write_text("kept")
    before = (run / "summary.json").stat().st_mtime_ns
    assert call("train", *SMOKE, "--force") == 0
    assert (run / "summary.json").stat().st_mtime_ns > before
    assert (run / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--preset", "smoek"], "smoke"),
        (["train", "--preset"], "--preset"),
        (["trian"], "train"),
        (["train", "--rule", "dfaa"], "dfa"),
        (["train", "--batch-size", "0"], "positive"),
        (["train", "--momentum", "0.9"], "momentum"),
        (["train", "--rule", "bfa", "--model", "conv"], "mlp"),
        (["train", "--optim", "nag"], "momentum"),
        (["train", "--preset", "smoke", "--device", "tpu"], "cuda"),
        (["train", "--preset", "smoke", "--act", "tanhh"], "tanh"),
        (["train", "--preset", "smoke", "--model", "nowhere"], "mlp"),
        (["train", "--preset", "smoke", "--model", "no.where:net"], "imported"),
        (["train", "--preset", "smoke", "--normalize", "image"], "add --zero-variance one"),
        (["train", "--preset", "smoke", "--engine", "fast", "--dropout", "full"], "fast engine"),
        (["plot", "nowhere"], "holds no run"),
        (["generate", "nowhere"], "holds no run"),
        (["table", "--preset", "smoke", "--nets", "2y4"], "2x800"),
        (["table", "--preset", "smoke", "--rules", "pb"], "bp"),
        (["table", "--preset", "smoke", "--seeds", "1", "1"], "once"),
        (["reproduce", "--scale", "tiny"], "smoke"),
        (["th", "-datset", "MNIST"], "dataset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refusals(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not any(tmp_path.rglob("*.json"))


def test_table_fills_a_ledger_and_skips(tmp_path, capsys):
    ledger = tmp_path / "results.csv"
    command = ["table", "--preset", "smoke", "--epochs", "1", "--rules", "bp", "bdfa", "--nets", "1x8", "8-4",
               "--seeds", "1", "2", "--ledger", ledger]  # fmt: skip
    assert call(*command) == 0
    rows = open_ledger(ledger).rows()
    assert len(rows) == 8
    assert {row["dataset"] for row in rows} == {"digits"}
    gaps = [row["gap_to_bp"] for row in rows if row["rule"] == "bdfa"]
    assert all(gap is not None for gap in gaps)
    capsys.readouterr()
    assert call(*command) == 0
    said = capsys.readouterr().out
    assert "4 of 4 runs" in said
    assert "±" in said
    assert len(open_ledger(ledger).rows()) == 8


@pytest.mark.slow
def test_reproduce_in_processes_with_a_relative_folder(tmp_path, monkeypatch, capsys):
    """The parent writes the rows, with the distance to BP; the same command again trains nothing."""
    monkeypatch.chdir(tmp_path)
    words = ["reproduce", "--parts", "table", "--seeds", "1", "2", "--nets", "1x8", "--epochs", "1", "--jobs", "2",
             "--out", "here"]  # fmt: skip
    assert call(*words) == 0
    rows = open_ledger(tmp_path / "here" / "results.csv").rows()
    assert [row["scale"] for row in rows] == ["smoke"] * 10
    assert all(row["gap_to_bp"] is not None for row in rows if row["rule"] == "bp")
    assert (tmp_path / "here" / "errors-table-1x8-smoke.png").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert call(*words) == 0
    assert "5 of 5 runs are finished already" in capsys.readouterr().out
    assert call(*words, "--seeds", "3", "--jobs", "1") == 0
    assert len(open_ledger(tmp_path / "here" / "results.csv").rows()) == 15
    assert call("reproduce", "--only", "figures") == 2
    assert "study, beyond, table" in capsys.readouterr().err


def test_parse_net():
    assert parse_net("2x800") == (800, 800)
    assert parse_net("400-200") == (400, 200)
    for bad in ("", "0x", "x8", "8x0", "a"):
        with pytest.raises(UserError):
            parse_net(bad)


class TestLua:
    def test_readme_commands(self):
        config = parse_flags(["-dataset", "MNIST", "-network", "mlp.lua", "-LR", "1e-4"])
        assert config == TrainConfig(profile="faithful", rule="bdfa")
        assert config.resolved_target() == "code"
        config = parse_flags(
            ["Main.lua", "-dataset", "Cifar10", "-network", "conv.lua", "-LR", "5e-5", "-whiten"]
        )
        assert (config.model, config.dataset, config.lr, config.whiten) == ("conv", "cifar10", 5e-5, "zca")

    def test_dfa_is_what_the_named_program_does(self):
        """The arrays recorded from bdfa-torch agree with what its word dfa means here, and with nothing else."""
        with np.load(Path(__file__).parent / "golden" / GOLDEN) as file:
            golden = dict(file)
        case = golden_rules.parse(GOLDEN.removesuffix(".npz"))
        errors = {}
        for program in ("bdfa-torch", "dfa-torch"):
            config = parse_flags(["-gradient", "dfa", "--program", program])
            assert config.profile == "faithful"
            ruled = dataclasses.replace(case, rule=config.rule)
            trained = (
                dict(golden) if config.rule == "bdfa" else {k: v for k, v in golden.items() if k != "fb_lr"}
            )
            pairs = golden_rules.check_training(trained, ruled)
            errors[program] = max(np.abs(ours - wanted).max() for ours, wanted in pairs.values())
        assert errors["bdfa-torch"] < 1e-9
        assert errors["dfa-torch"] > 1e-6
        assert parse_flags(["--program=dfa-torch"]) == PRESETS["readme-mnist"]
        assert parse_flags(["-gradient", "bp"]).rule == "bp"
        with pytest.raises(UserError, match="bdfa-torch, dfa-torch"):
            parse_flags(["--program", "torch"])

    def test_every_flag(self):
        values = {
            "network": "conv", "criterion": "ce", "eps": "0.08", "dropout": "2", "batchnorm": "2", "nonlin": "sigm",
            "num_layers": "3", "num_hidden": "50", "bias": "0", "rfb_mag": "1", "LR": "0.01", "LRDecay": "0.1",
            "weightDecay": "0.2", "momentum": "0.9", "batchSize": "32", "optimization": "sgd", "epoch": "5",
            "epoch_step": "0", "gradient": "fa", "maxInNorm": "3", "maxOutNorm": "4", "accGradient": "1",
            "threads": "2", "type": "float", "devid": "1", "nGPU": "1", "constBatchSize": "true", "load": "a",
            "save": "b", "dataset": "SVHN", "datapath": "c", "normalization": "simple", "format": "yuv",
            "whiten": "true", "augment": "true", "preProcDir": "d", "visualize": "1", "seed": "4",
            "modelsFolder": "./Models/", "validate": "false",
        }  # fmt: skip
        assert values.keys() == FLAGS.keys()
        words = [word for name, value in values.items() for word in (f"-{name}", value)]
        config = parse_flags(words)
        assert (config.max_norm_out, config.max_norm_in) == (3.0, 4.0)  # DEV-9: the names are swapped
        expected = {
            "model": "conv", "loss": "ce", "adv_eps": 0.08, "dropout": "conv", "batchnorm": "conv2", "act": "sigmoid",
            "bias": False, "fb_scale": 1.0, "lr": 0.01, "lr_decay": 0.1, "weight_decay": 0.2, "momentum": 0.9,
            "batch_size": 32, "optim": "sgd", "epochs": 5, "lr_step": "auto", "rule": "fa", "adv_mode": "accumulate",
            "threads": 2, "device": "cpu", "drop_last": True, "dataset": "svhn", "normalize": "simple",
            "color": "yuv", "whiten": "zca", "augment": True, "visualize": True, "seed": 4,
        }  # fmt: skip
        assert {name: getattr(config, name) for name in expected} == expected
        assert [
            str(path) for path in (config.init_from, config.out, config.data_dir, config.cache_dir)
        ] == list("abcd")

    def test_validate_holds_out_the_tail(self):
        assert parse_flags(["-validate"]).val_split == 10_000
        with pytest.warns(UserWarning, match="no effect"):
            assert parse_flags(["-validate", "-dataset", "STL10"]).val_split == 0

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("-nonlin tanhh", "tanh"), ("-criterion mse", "bce"), ("-gradient dfaa", "dfa"),
            ("-dataset mnist", "MNIST"),
            ("-network my.lua", "mlp.lua"), ("-LR fast", "number"), ("-epoch 2.5", "integer"), ("-LR", "value"),
            ("-epoch_step -2", "epoch_step"), ("-nGPU 2", "one device"), ("-LR 1 -LR 2", "twice"), ("MNIST", "flag"),
            ("-optimization lbfgs", "rmsprop"), ("-LR inf", "finite"), ("-batchSize 0", "batch-size"),
            ("-num_layers 0", "num_layers"), ("-dropout 3", "0, 1, 2"),
        ],
    )  # fmt: skip
    def test_refusals(self, words, message):
        with pytest.raises(UserError, match=message):
            parse_flags(words.split())


def test_main_exits_with_the_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bdfa", "nonsense"])
    assert cli.main() == 2


def test_content_is_json_and_rebuilds():
    for config in PRESETS.values():
        again = rebuild(TrainConfig, json.loads(json.dumps(config.content())), "a preset")
        assert again == config
        assert run_id(again.content()) == run_id(config.content())


def test_a_table_on_other_data_uses_all_of_it_and_decides_no_claim():
    """The protocol's 50,000 training images are MNIST's; a smaller set must neither fail nor count as the paper's."""
    mnist = wanted("paper", nets=["1x400"], seeds=[1])
    other = wanted("paper", "pictures.zip", nets=["1x400"], seeds=[1])
    table = [group for group in mnist if group.claim == "table"]
    assert (table[-1].configs[0].train_size, table[-1].scale) == (50_000, "paper")
    named = {group.part or group.claim for group in mnist if group.extra}
    assert named == {"table-cifar10", "readings"}
    assert {group.extra for group in mnist if group.claim in ("study", "beyond", "table")} == {False}
    assert (other[-1].configs[0].train_size, other[-1].scale) == (None, "own")
    assert {group.scale for group in mnist} == {"paper"}
    assert {group.scale for group in other} == {"own"}
    assert {group.scale for group in wanted("paper", "fashion-mnist")} == {"reduced"}
    assert {group.scale for group in wanted("reduced", "pictures.zip")} == {"own"}
    assert {group.scale for group in wanted("smoke", "pictures.zip")} == {"own"}
    assert {group.scale for group in wanted("smoke")} == {"smoke"}
