"""Runs from configuration to checkpoint: engines agree, kills do not change results, profiles differ as documented."""

import json
import os
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo
from bdfa.config import TrainConfig
from bdfa.engines.engine import FastEngine, ModuleEngine
from bdfa.training.evaluation import evaluate_run
from bdfa.training.loop import train, train_together
from reprokit import Checkpoints, UserError

SMALL = TrainConfig(
    dataset="digits", hidden=(16, 16), lr=1e-3, batch_size=32, epochs=2, train_size=320, plot=False
)
VARYING = ("seconds",)


def arrays(path: Path) -> dict[str, np.ndarray]:
    found = Checkpoints(path / "checkpoints").load_latest()
    assert found is not None
    return found.arrays


def records(path: Path) -> list[dict]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in VARYING} for line in lines]


def same(first: Path, second: Path) -> None:
    a, b = arrays(first), arrays(second)
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name
    assert records(first) == records(second)


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "bdfa", "bfa"])
def test_engines_agree(rule, tmp_path):
    base = replace(SMALL, rule=rule, dtype="float64", epochs=1)
    for engine in ("fast", "module"):
        train(replace(base, engine=engine, out=tmp_path / engine))
    fast, module = arrays(tmp_path / "fast"), arrays(tmp_path / "module")
    wanted = {name for name in module if name.startswith("model/")}
    assert wanted == {name for name in fast if name.startswith("model/")}
    for name in wanted:
        np.testing.assert_allclose(fast[name], module[name], rtol=0, atol=1e-7)


def test_learns(tmp_path):
    for rule in ("bp", "bdfa"):
        config = replace(SMALL, rule=rule, hidden=(64, 64), epochs=5, train_size=None, out=tmp_path / rule)
        assert train(config).summaries[0]["test_error"] < 0.35, rule


def test_same_seed_same_bits(tmp_path):
    for name in ("a", "b"):
        train(replace(SMALL, engine="module", dropout="full", augment=True, out=tmp_path / name))
    same(tmp_path / "a", tmp_path / "b")
    train(replace(SMALL, engine="module", dropout="full", augment=True, seed=2, out=tmp_path / "c"))
    assert not np.array_equal(
        arrays(tmp_path / "a")["model/0/model.output.weight"],
        arrays(tmp_path / "c")["model/0/model.output.weight"],
    )


KILLED = {
    "fast-bdfa-rmsprop": {"rule": "bdfa", "optim": "rmsprop"},
    "module-bfa-momentum": {
        "rule": "bfa",
        "optim": "sgd",
        "momentum": 0.5,
        "engine": "module",
        "angles_every": 7,
    },
    "module-dropout-augment": {"rule": "fa", "optim": "adam", "dropout": "full", "augment": True},
}


def attempt(config: TrainConfig, step: int) -> int:
    """Train in a child that kills itself when an engine is asked for a step (0: never); returns how it ended."""
    child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("ignore")
            for engine in (FastEngine, ModuleEngine):

                def dying(self, images, labels, number, whole=engine.step):
                    if number == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return whole(self, images, labels, number)

                engine.step = dying
            train(config)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("case", list(KILLED))
def test_killed_run_ends_bit_equal(case, tmp_path):
    values = {
        "dataset": "digits", "hidden": (16, 16), "lr": 1e-3, "batch_size": 16, "epochs": 4, "train_size": 640,
        "checkpoint_steps": 5, "plot": False, **KILLED[case],
    }  # fmt: skip
    with pytest.warns(UserWarning, match="fast engine") if case == "module-dropout-augment" else nothing():
        train(TrainConfig(**values, out=tmp_path / "whole"))
    # 40 steps an epoch, a checkpoint every five: killed within the second epoch and right after the third one's end.
    for step, code, checkpoint in ((48, -signal.SIGKILL, 45), (121, -signal.SIGKILL, 120), (0, 0, 160)):
        assert attempt(TrainConfig(**values, out=tmp_path / "killed"), step) == code
        newest = Checkpoints(tmp_path / "killed" / "checkpoints").load_latest()
        assert newest is not None
        assert newest.step == checkpoint
    same(tmp_path / "whole", tmp_path / "killed")


class nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_finished_run_is_not_trained_again(tmp_path):
    config = replace(SMALL, out=tmp_path / "run")
    first = train(config)
    stamp = (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns
    again = train(config)
    assert again.summaries == first.summaries
    assert not again.models
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns == stamp


def test_other_configuration_in_the_directory_is_refused(tmp_path):
    train(replace(SMALL, out=tmp_path / "run"))
    with pytest.raises(UserError, match="seed"):
        train(replace(SMALL, seed=9, out=tmp_path / "run"))


def test_resume_with_more_epochs_equals_one_run(tmp_path):
    train(replace(SMALL, out=tmp_path / "short"))
    train(replace(SMALL, epochs=4, resume=tmp_path / "short", out=tmp_path / "longer"))
    train(replace(SMALL, epochs=4, out=tmp_path / "whole"))
    a, b = arrays(tmp_path / "longer"), arrays(tmp_path / "whole")
    assert all(np.array_equal(a[name], b[name]) for name in b)


def test_init_from_takes_weights_and_feedback(tmp_path):
    train(replace(SMALL, out=tmp_path / "first"))
    train(replace(SMALL, epochs=0, init_from=tmp_path / "first", out=tmp_path / "second"))
    longer = replace(SMALL, epochs=1, lr=1e-12, rule="dfa")
    train(replace(longer, init_from=tmp_path / "first", out=tmp_path / "third"))
    a, b = arrays(tmp_path / "first"), arrays(tmp_path / "third")
    np.testing.assert_allclose(a["model/0/model.output.weight"], b["model/0/model.output.weight"], atol=1e-6)
    assert np.array_equal(a["model/0/feedback.B1"], b["model/0/feedback.B1"])
    with pytest.raises(UserError, match="holds no run"):
        train(replace(SMALL, init_from=tmp_path / "none", out=tmp_path / "fourth"))
    assert not (tmp_path / "fourth").exists()


def test_together_equals_alone(tmp_path):
    configs = [
        replace(SMALL, seed=s, order_seed=1, rule=r, dtype="float64") for s, r in ((1, "dfa"), (2, "bp"))
    ]
    both = train_together(configs, tmp_path / "both")
    for index, config in enumerate(configs):
        alone = train(replace(config, out=tmp_path / f"alone{index}")).summaries[0]
        assert both.summaries[index]["test_error"] == alone["test_error"]
        assert both.summaries[index]["train_loss"] == pytest.approx(alone["train_loss"], abs=1e-10)


def test_together_refuses_what_differs(tmp_path):
    with pytest.raises(UserError, match="order_seed"):
        train_together([SMALL, replace(SMALL, seed=2)], tmp_path / "x")
    with pytest.raises(UserError, match="lr"):
        train_together([SMALL, replace(SMALL, lr=0.1)], tmp_path / "x")


def test_dev23_faithful_runs_one_epoch_fewer(tmp_path):
    assert train(replace(SMALL, profile="faithful", out=tmp_path / "a")).summaries[0]["epochs"] == 1
    assert train(replace(SMALL, out=tmp_path / "b")).summaries[0]["epochs"] == 2


def test_dev25_faithful_loss_counts_batches_alike(tmp_path):
    odd = replace(SMALL, train_size=33, epochs=2, optim="sgd", lr=1e-9, rule="bp")
    losses = []
    for profile, epochs in (("fixed", 1), ("faithful", 2)):
        config = replace(odd, profile=profile, epochs=epochs, out=tmp_path / profile)
        losses.append(train(config).summaries[0]["train_loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)


@pytest.mark.parametrize(
    "options",
    [
        {"adv_eps": 0.05},
        {"adv_eps": 0.05, "adv_mode": "accumulate", "adv_clean_rule": "same"},
        {"max_norm_in": 0.3, "max_norm_out": 0.5},
        {"profile": "faithful", "max_norm_in": 0.3},
        {"bias": False},
        {"bias": False, "profile": "faithful", "batchnorm": "all"},
        {"loss": "ce", "reduction": "sum", "weight_decay": 1e-3, "decay_bias": False},
        {"profile": "faithful", "loss": "ce", "rule": "dfa"},
        {"act": "GELU", "rule": "dfa"},
        {"rule": "kolen-pollack"},
        {"rule": "drtp"},
        {"model": "bdfa.example_networks:residual"},
        {"whiten": "zca"},
    ],
    ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()),
)
@pytest.mark.filterwarnings("ignore:the fast engine does not support")
def test_options_train(options, tmp_path):
    config = replace(SMALL, train_size=160, **options, out=tmp_path / "run")
    summary = train(config).summaries[0]
    assert 0 <= summary["test_error"] <= 1
    weights = arrays(tmp_path / "run")
    assert all(np.isfinite(value).all() for value in weights.values())
    if options.get("max_norm_in") and config.profile == "fixed":
        assert np.linalg.norm(weights["model/0/model.linear1.weight"], axis=1).max() <= 0.3 + 1e-5
    if not config.bias and config.faithful:
        assert not weights["model/0/model.linear1.bias"].any()


def test_conv_preset_trains_on_colour_images(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 3, 22, 22)).astype(np.uint8)
    labels = np.arange(24) % 3
    np.savez(
        tmp_path / "data.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    config = replace(
        SMALL, dataset=str(tmp_path / "data.npz"), model="conv", train_size=None, batch_size=12, epochs=1, color="yuv",
        augment=True, p_conv=0.1, batchnorm="conv2", out=tmp_path / "run",
    )  # fmt: skip
    assert np.isfinite(train(config).summaries[0]["train_loss"])


def test_divergence_is_said(tmp_path):
    config = replace(SMALL, rule="bp", act="relu", optim="sgd", lr=1e30, out=tmp_path / "run")
    with pytest.raises(UserError, match="diverged"):
        train(config)


@pytest.mark.parametrize("together", [False, True])
def test_a_feedback_network_that_diverges_is_named_with_its_rate(tmp_path, together):
    """Its last layer is unstable once the rate exceeds 2 over the largest eigenvalue of its inputs."""
    config = replace(SMALL, rule="bfa", optim="sgd", lr=1e-3, fb_lr=1.0, order_seed=1, out=tmp_path / "run")
    good = replace(config, seed=config.seed + 1, fb_lr=1e-4)
    with pytest.raises(
        UserError,
        match=rf"diverged in epoch \d+ \(rule bfa, seed {config.seed}\): .* --fb-lr 1; use a smaller --fb-lr",
    ):
        train_together([good, config] if together else [config])


def test_a_target_that_hurts_is_said(tmp_path):
    with pytest.warns(UserWarning, match="doubles the error"):
        train(replace(SMALL, rule="bdfa", fb_target="onehot", epochs=0, out=tmp_path / "run"))


def test_dev26_only_faithful_augments_test_images(tmp_path):
    losses = {}
    for profile, epochs in (("fixed", 1), ("faithful", 2)):
        for augmented in (False, True):
            config = replace(
                SMALL, profile=profile, epochs=epochs, lr=1e-12, init="uniform", rule="bp", optim="sgd",
                augment=augmented, out=tmp_path / f"{profile}{augmented}",
            )  # fmt: skip
            losses[profile, augmented] = train(config).summaries[0]["test_loss"]
    assert losses["fixed", True] == pytest.approx(losses["fixed", False], abs=1e-7)
    assert abs(losses["faithful", True] - losses["faithful", False]) > 1e-6


def test_dev27_target_of_the_profiles():
    assert SMALL.resolved_target() == "center"
    assert replace(SMALL, profile="faithful").resolved_target() == "code"
    assert replace(SMALL, profile="faithful", fb_target="onehot").resolved_target() == "onehot"


@pytest.mark.parametrize("engine", ["fast", "module"])
def test_weights_that_are_not_finite_stop_the_run(tmp_path, engine):
    """A step on the last batch does not show in any training loss, so the weights are checked before they are saved."""
    config = replace(
        SMALL, rule="bp", engine=engine, optim="sgd", lr=3e38, train_size=32, epochs=1, out=tmp_path / "run"
    )
    with pytest.raises(UserError, match=r"diverged in epoch 1 \(rule bp, seed \d\): .* is not finite"):
        train(config)


@pytest.mark.parametrize("engine", ["fast", "module"])
def test_evaluation_depends_neither_on_its_batches_nor_on_threads(engine, tmp_path, monkeypatch):
    config = TrainConfig(
        dataset="digits",
        hidden=(8,),
        train_size=96,
        epochs=1,
        engine=engine,
        plot=False,
        out=tmp_path / "run",
    )
    train(config)
    threads = torch.get_num_threads()
    wanted = evaluate_run(tmp_path / "run")[0]
    for size, count in ((1, 1), (7, 2), (360, 2)):
        monkeypatch.setattr("bdfa.training.evaluation.EVALUATION_BATCH", size)
        torch.set_num_threads(count)
        found = evaluate_run(tmp_path / "run", engine=engine)[0]
        torch.set_num_threads(threads)
        assert found["error"] == wanted["error"]
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
