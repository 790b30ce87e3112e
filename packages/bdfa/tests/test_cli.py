"""Command line: commands, presets, the original's spelling, and refusals with exit code 2."""

import json
import subprocess
import sys

import pytest
from bdfa import cli
from bdfa.config import TrainConfig
from bdfa.formats.lua_flags import FLAGS, parse_flags
from bdfa.presets import PRESETS
from bdfa.reproduce.groups import parse_net
from bdfa.reproduce.plan import wanted
from bdfa.reproduce.results import open_ledger
from reprokit import UserError, run_id
from reprokit.cli import run
from reprokit.config import rebuild

SMOKE = ["--preset", "smoke", "--hidden", "8", "--epochs", "1", "--train-size", "96", "--no-plot"]


def call(*arguments: str) -> int:
    return run(lambda: cli.dispatch([str(argument) for argument in arguments]))


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_loads_no_torch(words):
    program = f"""
import sys
from bdfa import cli
sys.argv = ["bdfa", *{words!r}]
try:
    cli.main()
except SystemExit as stop:
    assert not stop.code, stop.code
loaded = {{"torch", "matplotlib", "scipy"}} & sys.modules.keys()
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_train_info_plot_angles_generate(tmp_path, capsys):
    out = tmp_path / "run"
    assert call("angles", *SMOKE, "--rule", "bfa", "--out", out, "--angles-every", "2", "--plot") == 0
    assert "test error" in capsys.readouterr().out
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
    monkeypatch.setattr(cli, "_train", seen.append)
    call("train", "--preset", "paper-mnist-2x800", "--rule", "bfa", "--batch_size", "7")
    assert (seen[0].rule, seen[0].batch_size, seen[0].hidden) == ("bfa", 7, (800, 800))
    assert (seen[0].optim, seen[0].epochs, seen[0].train_size) == ("sgd", 300, 50_000)
    call("train", "--preset=smoke")
    assert seen[1] == PRESETS["smoke"]


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
        (["train", "--preset", "smoke", "--normalize", "image"], "zero variance"),
        (["train", "--preset", "smoke", "--engine", "fast", "--dropout", "full"], "fast engine"),
        (["plot", "nowhere"], "run directory"),
        (["generate", "nowhere"], "run directory"),
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
    assert "8 rows" in said
    assert "±" in said
    assert len(open_ledger(ledger).rows()) == 8


def test_parse_net():
    assert parse_net("2x800") == (800, 800)
    assert parse_net("400-200") == (400, 200)
    for bad in ("", "0x", "x8", "8x0", "a"):
        with pytest.raises(UserError):
            parse_net(bad)


class TestLua:
    def test_readme_commands(self):
        config = parse_flags(["-dataset", "MNIST", "-network", "mlp.lua", "-LR", "1e-4"])
        assert config == TrainConfig(profile="faithful", rule="dfa")
        config = parse_flags(
            ["Main.lua", "-dataset", "Cifar10", "-network", "conv.lua", "-LR", "5e-5", "-whiten"]
        )
        assert (config.model, config.dataset, config.lr, config.whiten) == ("conv", "cifar10", 5e-5, "zca")

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
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2


def test_content_is_json_and_rebuilds():
    for config in PRESETS.values():
        again = rebuild(TrainConfig, json.loads(json.dumps(config.content())), "a preset")
        assert again == config
        assert run_id(again.content()) == run_id(config.content())


def test_a_table_on_other_data_uses_all_of_it_and_decides_no_claim():
    """The protocol's 50,000 training images are MNIST's; a smaller set must neither fail nor pass for the paper's."""
    (mnist,) = wanted("paper", ["table"], "mnist", ["1x400"], [1], None)[:1]
    (other,) = wanted("paper", ["table"], "pictures.zip", ["1x400"], [1], None)[:1]
    assert (mnist.configs[0].train_size, mnist.scale) == (50_000, "paper")
    assert (other.configs[0].train_size, other.scale) == (None, "reduced")
