"""Every option of every command has an effect or is refused; those without one are listed with the reason."""

from __future__ import annotations

import csv
import inspect
import io
import json
import re
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nalsm import Config, NetworkSpec, Run, generate, save_event_arrays
from nalsm.cli import app
from nalsm.config import refuse_idle
from nalsm_commands import Done, run
from reprokit import UserError

SMALLEST = (
    "--data digits --dims 3 3 3 --duration 64 --initial-samples 12 --train-samples 30 --validation-samples 12 "
    "--test-samples 12 --readout adadelta --readout-epochs 3 --record 3 --batch 7 --weight 2.5"
)
ALONE = {  # options that change no result, and why; other tests hold what they do
    "train": {
        "out": "names the folder",
        "engine": "both engines give the same spikes (test_simulator)",
        "device": "cpu is the default where there is no GPU",
        "threads": "results do not depend on it (test_forked)",
        "resume": "a folder without a run has nothing to resume",
        "force": "a folder without a run has nothing to delete",
        "allow_loss": "turns a refusal into a warning (test_own_data)",
        "revision": "own data only (test_own_data); refused for others",
        "jitter_per_sample": "acts on noise of recordings, that is in `evaluate kernel` (test_recordings)",
    },
    "features": {"threads": "results do not depend on it"},
    "evaluate": {
        "noise": "acts on the samples (`features --noise`); ranks are full here with and without",
        "repetitions": "averages over choices, which agree where ranks are full (test_readout_measures)",
        "threads": "results do not depend on it",
        "engine": "both engines give the same spikes",
        "device": "cpu is the default where there is no GPU",
        "which": "a run keeps the best readout; `last` is refused (test_cli)",
        "out": "names a file",
        "plot": "draws what is printed (test_runs)",
    },
    "sweep": {
        "out": "names the folder",
        "options": "which runs are done, where, and how many at a time",
        "threads": "results do not depend on it",
    },
    "reproduce": {
        "jobs": "runs at a time",
        "threads": "results do not depend on it",
        "out": "names the folder",
    },
}

# field: flags that give it another value, on top of SMALLEST; where it acts under other settings, those too
OWN, EVENTS, NETWORK = "OWN", "EVENTS", "NETWORK"
CHANGED: dict[str, tuple[str, str] | str] = {
    "model": "--model lsm-stdp",
    "data": f"--data {OWN}",
    "network": f"--network {NETWORK} --dims 10 10 10",
    "dims": "--dims 3 3 4",
    "network_seed": "--network-seed 2",
    "recurrence": "--no-recurrence",
    "seed": "--seed 1",
    "profile": "--profile faithful",
    "frozen_stdp": ("--model lsm-stdp", "--frozen-stdp True"),
    "carry_trace": "--carry-trace True",
    "own_test_scaling": "--own-test-scaling True",
    "jitter_per_sample": "--jitter-per-sample True",
    "batch_maximum": "--batch-maximum True",
    "weight": "--weight 2",
    "astrocyte_weight": "--astrocyte-weight 0.05",
    "astrocyte_bias_offset": "--astrocyte-bias-offset 0.5",
    "astrocyte_tau": "--astrocyte-tau 20",
    "ap_theta": ("--model lsm-apstdp --initial-duration 40 --ap-theta 2 --ap-range 1.5", "--ap-theta 3"),
    "ap_range": ("--model lsm-apstdp --initial-duration 40 --ap-theta 2 --ap-range 1.5", "--ap-range 2"),
    "rate": "--rate 0.4",
    "rate_decay": "--rate-decay 0.9",
    "max_weight": "--max-weight 2.2",
    "duration": "--duration 62",
    "initial_duration": "--initial-duration 12",
    "initial_samples": "--initial-samples 14",
    "train_samples": "--train-samples 31",
    "validation_samples": "--validation-samples 13",
    "test_samples": "--test-samples 13",
    "tau_v": "--tau-v 10",
    "threshold": "--threshold 10",
    "refractory": "--refractory 5",
    "tau_u": "--tau-u 2",
    "input_current": ("--input-current 15", "--input-current 9"),
    "batch": "--batch 9",
    "readout": "--readout ridge",
    "soft_labels": ("--readout lbfgs", "--no-soft-labels"),
    "readout_epochs": "--readout-epochs 4",
    "record": "--record 2",
    "input_scale": "--input-scale quantile",
    "input_rate": "--input-rate 300",
    "start": (f"--data {EVENTS}", "--start first-event"),
    "allow_loss": "--allow-loss",
    "revision": (f"--data {OWN}", "--revision 1"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with own images, own events and a network."""
    out, stream = tmp_path_factory.mktemp("options"), np.random.default_rng(0)
    images = stream.integers(0, 200, (60, 8, 8)).astype(np.uint8)
    images[3, 0, 0] = 255
    labels = np.repeat(np.arange(3), 20)
    np.savez(
        out / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    t = np.sort(stream.integers(1000, 60_000, (36, 200)), axis=1)
    parts = {"t": t.ravel(), "offsets": np.arange(37) * 200, "labels": np.arange(36) % 3}
    parts |= {name: stream.integers(0, top, 7200) for name, top in (("x", 8), ("y", 4), ("p", 2))}
    save_event_arrays(out / "events.npz", parts, parts, (4, 8))
    generate(NetworkSpec((3, 2, 3), 64, 4)).save(out / "net.npz")
    return out


def nalsm(words: str) -> Done:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # liquids as small as these may hardly fire
        return run(["", "", "", *words.split()])


def contents(out: Path) -> dict[str, bytes]:
    """Return what a command wrote, without settings, logs and times."""
    skipped = {"config.json", "options.json", "digests.json", "metrics.jsonl", "data.json"}
    found = {}
    for file in sorted(out.rglob("*")):
        if not file.is_file() or file.name in skipped or file.name[0] == "." or "checkpoints" in file.parts:
            continue
        found[str(file.relative_to(out))] = _plain(file)
    return found


def _plain(file: Path) -> bytes:
    if file.suffix == ".npz":
        with np.load(file) as data:
            return b"".join(name.encode() + data[name].tobytes() for name in sorted(data.files))
    if file.name == "summary.json":
        return json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "seconds"}).encode()
    if file.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(file.read_text())))
        times = re.compile("seconds|time|date|run_id|config|host|duration|commit|cpu|memory|started")
        return repr([{k: v for k, v in row.items() if not times.search(k)} for row in rows]).encode()
    return file.read_bytes()


def placed(words: str, folder: Path) -> str:
    for name, file in ((OWN, "own.npz"), (EVENTS, "events.npz"), (NETWORK, "net.npz")):
        words = words.replace(name, str(folder / file))
    return words


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return results of runs by their flags, so that each is made once."""
    return {}


def results(flags: str, folder: Path, trained: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    if flags not in trained:
        out = folder / f"run{len(trained)}"
        # a flag that comes twice counts with its last value
        words = _last(f"{SMALLEST} {placed(flags, folder)}")
        done = nalsm(f"train {words} --out {out}")
        assert done.returncode == 0, f"{flags}: {done.stderr}"
        trained[flags] = contents(out)
    return trained[flags]


def _last(words: str) -> str:
    found = dict(re.findall(r"--([\w-]+)((?: (?!--)\S+)*)", words))
    return " ".join(f"--{name}{value}" for name, value in found.items())


def test_the_list_names_every_setting() -> None:
    own = {"rule", "rule_source"}  # rules of a user's own: test_own_rules
    assert set(CHANGED) == {field.name for field in fields(Config)} - own


@pytest.mark.parametrize("name", CHANGED)
def test_settings_of_a_run(name: str, folder: Path, trained: dict[str, dict[str, bytes]]) -> None:
    given = CHANGED[name]
    base, change = given if isinstance(given, tuple) else ("", given)
    same = results(f"{base} {change}".strip(), folder, trained) == results(base, folder, trained)
    assert same == (name in ALONE["train"] and name != "revision"), (
        f"--{name} changes {'no' if same else 'a'} result"
    )


OTHERS = {  # command: option: flags; the first is what the others are compared with
    "network": {
        "": "--dims 3 3 3 --inputs 20", "dims": "--dims 3 3 4", "inputs": "--inputs 21", "dataset": "--dataset digits",
        "seed": "--seed 2", "input_density": "--input-density 0.3", "excitatory_fraction": "--excitatory-fraction 0.5",
        "connection": "--connection 0.9 0.8 0.7 0.6", "length": "--length 9",
    },
    "features": {
        "": "", "split": "--split validation", "noise": "--noise 50", "threads": "--threads 2",
    },
    "readout": {
        "": "--epochs 20", "kind": "--kind ridge", "epochs": "--epochs 9",
        "soft_labels": "--epochs 20 --no-soft-labels",
    },
    "evaluate": {
        "": "--measure branching --samples 3", "measure": "--measure accuracy", "split": "--split train",
        "samples": "--samples 2", "data": f"--data {OWN}", "threads": "--threads 2", "engine": "--engine torch",
        "device": "--device cpu", "which": "--which best",
    },
    "evaluate kernel": {
        "": "--measure kernel --split validation --repetitions 2", "noise": "--noise 90",
        "repetitions": "--repetitions 3",
    },
    "export": {"": ""},
    "info": {"": ""},
}  # fmt: skip
FOLDERS = {
    "run": "the run that is read",
    "runs": "the runs that are read",
    "out": "names a file",
    "to": "one format only",
}


@pytest.fixture(scope="module")
def subject(folder: Path) -> Path:
    """Return a finished run with enough spikes for every measure."""
    words = "--data digits --dims 4 4 4 --duration 80 --initial-samples 12 --train-samples 60 --validation-samples 30"
    done = nalsm(
        f"train {words} --test-samples 60 --record 2 --readout-epochs 20 --weight 3 --out {folder / 'subject'}"
    )
    assert done.returncode == 0, done.stderr
    return folder / "subject"


@pytest.mark.parametrize("command", OTHERS)
def test_options_of_other_commands(command: str, folder: Path, subject: Path) -> None:
    known = command.split()[0]
    alone, seen = ALONE.get(known, {}) | FOLDERS, {}
    for option, flags in OTHERS[command].items():
        out = folder / f"{command.replace(' ', '-')}-{option or 'base'}"
        words = _last(f"{OTHERS[command]['']} {placed(flags, folder)}") if known != "readout" else flags
        if known == "network":
            words = f"{words} --out {out / 'net.npz'}"
            out.mkdir()
        else:
            target = {"features": f"--out {out}.npz", "export": f"--out {out}.npz"}.get(known, "")
            words = f"{subject} {words} {target}"
        done = nalsm(f"{known} {words}")
        assert done.returncode == 0, f"{option}: {done.stderr}"
        written = contents(out) if known == "network" else {}
        file = out.with_suffix(".npz") if known in ("features", "export") else None
        seen[option] = (done.stdout.replace(str(out), ""), written, _plain(file) if file else b"")
    for option in set(OTHERS[command]) - {""}:
        same = seen[option][1:] == seen[""][1:] and (
            known in ("network", "features") or seen[option][0] == seen[""][0]
        )
        assert same == (option in alone), f"{command} --{option}"
    options = set(inspect.signature(app.commands[known].function).parameters) - set(FOLDERS)
    covered = {option for name in OTHERS if name.split()[0] == known for option in OTHERS[name]}
    assert options - covered <= set(ALONE.get(known, {})), "an option that this test does not know"


def test_options_of_sweeps_and_studies() -> None:
    """Sweeps: test_runs and test_same_data; studies: test_runs. Here only that every option is in a test."""
    assert set(inspect.signature(app.commands["sweep"].function).parameters) - set(ALONE["sweep"]) == {
        "config",
        "grid",
        "vary",
    }
    assert set(inspect.signature(app.commands["train"].function).parameters) - set(ALONE["train"]) == {
        "config"
    }
    assert set(inspect.signature(app.commands["plot"].function).parameters) == {"runs", "out", "format"}


IDLE = [
    ("lsm", {"astrocyte_weight": 0.05}, "model nalsm"),
    ("nalsm", {"ap_theta": 20.0}, "model lsm-apstdp"),
    ("lsm", {"rate": 0.1}, "model nalsm, lsm-stdp or lsm-apstdp"),
    ("lsm-apstdp", {"rate_decay": 0.9}, "model nalsm or lsm-stdp"),
    ("nalsm", {"frozen_stdp": True}, "model lsm-stdp"),
    ("nalsm", {"batch_maximum": True}, "readout adadelta"),
]


@pytest.mark.parametrize(("model", "settings", "who"), IDLE)
def test_settings_that_a_run_does_not_read_are_refused(
    model: Any, settings: dict[str, Any], who: str, tmp_path: Path
) -> None:
    config = replace(Config(model=model), **settings)
    with pytest.raises(UserError, match=f"does not use; leave it out, or choose {who}"):
        refuse_idle([config])
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    for command in ("train", "sweep"):
        done = nalsm(f"{command} --model {model} {flags} --data digits --out {tmp_path / 'run'}")
        assert done.returncode == 2
        assert "does not use; leave it out" in done.stderr
    assert not (tmp_path / "run").exists()


def test_bounds_of_phases_that_a_run_does_not_have_are_said() -> None:
    lines = refuse_idle([Config(model="lsm", initial_samples=5, readout="ridge", readout_epochs=7)])
    assert lines == [
        "initial_samples is 5, which model lsm with readout ridge does not use "
        "(model nalsm, lsm-stdp or lsm-apstdp does)",
        "readout_epochs is 7, which model lsm with readout ridge does not use (readout lbfgs or adadelta does)",
    ]


class TestOriginalPrompts:
    @pytest.mark.parametrize(
        ("prompt", "name", "value"),
        [
            ("--astro-w-scaling", "astrocyte_weight", 0.02),
            ("--ASTRO_W_SCALING", "astrocyte_weight", 0.02),
            ("--initial-abs-w-sclr", "weight", 1.5),
            ("--INTIAL_ABS_W_SCLR", "weight", 1.5),
            ("--stdp-neuron-rate-threshold", "ap_theta", 12.0),
            ("--STDP_NEURON_RATE_THESHOLD", "ap_theta", 12.0),
            ("--stdp-neuron-rate-range", "ap_range", 9.0),
            ("--net-num-var", "network_seed", 7),
            ("--batch-size", "batch", 50),
        ],
    )
    def test_prompts_are_flags(
        self, prompt: str, name: str, value: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[Config] = []

        def stop(_: Any, __: Any, config: Config, **___: Any) -> None:
            seen.append(config)
            raise UserError("stop")

        monkeypatch.setattr(Run, "__init__", stop)
        model = "lsm-apstdp" if name.startswith("ap_") else "nalsm"
        nalsm(f"train {model} {prompt} {value}")
        assert getattr(seen[0], name) == value
        nalsm(f"train {model} {prompt}={value}")
        assert getattr(seen[1], name) == value

    @pytest.mark.parametrize(
        ("prompt", "words"),
        [("--gpu 0", "--device cuda:0"), ("--GPU=0", "--device cuda:0"), ("--version 3", "--out runs/LABEL"),
         ("--batchs-per-block 5", "leave it out")],
    )  # fmt: skip
    def test_others_say_what_to_write(self, prompt: str, words: str) -> None:
        done = nalsm(f"train nalsm {prompt}")
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_large_liquids_want_a_smaller_astrocyte_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nalsm.training.pipeline.LARGE", 27)
    config = Config(data="digits", dims=(3, 3, 3))
    with pytest.warns(UserWarning, match=r"the paper takes 0\.0075 for 8000"):
        Run(tmp_path / "a", config).directory.close()
    Run(tmp_path / "b", replace(config, astrocyte_weight=0.0075)).directory.close()
    Run(tmp_path / "c", replace(config, model="lsm")).directory.close()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("flags", ["--kind ridge --epochs 5", "--kind adadelta --no-soft-labels"])
def test_a_readout_refuses_what_it_does_not_read(flags: str, subject: Path) -> None:
    done = nalsm(f"readout {subject} {flags}")
    assert done.returncode == 2
    assert "does not use" in done.stderr
