"""Every misuse that the command line detects ends in one sentence, exit code 2 and no half-written file."""

import json

import numpy as np
import pytest
from dalton import cli
from small_runs import FLAGS, events, recordings

RUN = ["--out", "out"]


def refused(capsys, words: list[str]) -> str:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    message = captured.err.strip()
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1, message
    return message


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", *FLAGS, "--arch", "A3"], ["A3", "too deep", "8"]),
        (["train", *FLAGS, "--arch", "A9"], ["A9", "A1, A2, A3, A4, A5"]),
        (["train", *FLAGS, "--arch", "nowhere:net"], ["nowhere:net", "imported"]),
        (["train", *FLAGS, "--arch", "small_runs:FLAGS"], ["list", "Architecture"]),
        (["train", *FLAGS, "--method", "tfr", "--setting", "online", "--burn-in", "8"], ["burn-in", "8 time-steps"]),
        (["train", *FLAGS, "--method", "TFR_RTRL_SCNN", "--profile", "faithful"], ["burn-in is 50", "original"]),
        (["train", *FLAGS, "--setting", "online", "--steps", "40", "--test-steps", "9", "--burn-in", "9"],
         ["burn-in is 9", "9 time-steps"]),
        (["train", *FLAGS, "--method", "dalton", "--loss", "ce"], ["ce", "dalton", "mse"]),
        (["train", *FLAGS, "--method", "surrgd", "--setting", "rtrl"], ["rtrl", "surrgd", "tfr or dalton"]),
        (["train", *FLAGS, "--method", "dlaton"], ["'dlaton'", "dalton"]),
        (["train", "--dataset", "MNITS"], ["MNITS", "mnist"]),
        (["train", "--dataset", "nowhere.zip"], ["nowhere.zip"]),
        (["train", *FLAGS, "--reader", "tonic"], ["reader tonic has n-mnist, dvs-gesture, cifar10-dvs", "digits"]),
        (["train", "--dataset", "DVS_GESTURE", "--reader", "tonic"], ["dvs-gesture", "REPROKIT_OFFLINE"]),
        (["train", *FLAGS, "--gain", "0"], ["gain", "positive"]),
        (["train", *FLAGS, "--gain", "-2"], ["gain", "positive"]),
        (["train", *FLAGS, "--batch-size", "0"], ["batch-size", "positive"]),
        (["train", *FLAGS, "--device", "tpu"], ["tpu", "cuda:K"]),
        (["train", *FLAGS, "--device", "cuda:99"], ["cuda:99", "cpu"]),
        (["train", *FLAGS, "--engine", "fast"], ["fast", "native"]),
        (["train", *FLAGS, "--train-size", "99999"], ["99999"]),
        (["train", *FLAGS, "--test-size", "99999"], ["99999"]),
        (["train", *FLAGS, "--validation", "1.5"], ["1.5", "below 1"]),
        (["train", *FLAGS, "--subset", "nowhere.json"], ["nowhere.json"]),
        (["train", *FLAGS, "--init-weights", "nowhere.npz"], ["nowhere.npz"]),
        (["sweep", *FLAGS, "--gain", "1", "0"], ["gain", "positive"]),
        (["sweep", *FLAGS, "--gain", "2", "2"], ["each once"]),
        (["sweep", *FLAGS, "--jobs", "0"], ["jobs", "at least 1"]),
        (["sweep", *FLAGS, "--methods", "dalton", "nothing"], ["nothing", "surrgd"]),
        (["evaluate", "nowhere"], ["nowhere holds no run", "dalton train"]),
        (["plot"], ["no run directory is given", "dalton plot"]),
        (["plot", "nowhere"], ["nowhere holds no run", "dalton train"]),
        (["export", "nowhere"], ["nowhere holds no run", "dalton train"]),
        (["info", "nowhere"], ["nowhere holds no run", "dalton train"]),
        (["reproduce", "--only", "studdy"], ["studdy", "study"]),
        (["reproduce", "--data", "nowhere"], ["nowhere"]),
        (["reproduce", "--golden", "."], ["mnist_subset.json"]),
        (["trian"], ["trian", "train"]),
    ],
    ids=lambda value: " ".join(w for w in value if w not in FLAGS) if isinstance(value, list) else None,
)  # fmt: skip
def test_refusals(words, parts, folder, capsys):
    if words[0] in ("train", "sweep"):
        words = [*words, *RUN]
    message = refused(capsys, words)
    for part in parts:
        assert part in message
    assert not [
        file for file in folder.rglob("*") if file.name in ("config.json", "results.csv", "metrics.jsonl")
    ]


def test_words_outside_a_choice(capsys):
    """Wrong flags are reported by the parser: exit code 2 and the possible words."""
    for words, part in (
        (["reproduce", "--scale", "tiny"], "smoke"),
        (["evaluate", "run", "--which", "new"], "best"),
    ):
        assert cli.main(words) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert part in captured.err


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"", "empty"), (events([0, 5], 40, 4), "x=40, y=4; allowed: 0 to 33"), (b"1234567", "5")],
    ids=["empty recording", "event outside the sensor", "half an event"],
)
def test_bad_recordings(content, part, folder, capsys):
    source = recordings(folder / "events.zip", digit3=content)
    message = refused(capsys, ["train", "--dataset", str(source), "--arch", "small_runs:TINY", *RUN])
    assert part in message
    assert not (folder / "out").exists()


def test_labels_out_of_range(folder, capsys):
    images = np.zeros((4, 1, 8, 8), np.uint8)
    np.savez(
        folder / "own.npz", train_images=images, train_labels=np.array([0, 1, -1, 2]),
        test_images=images, test_labels=np.array([0, 1, 2, 0]),
    )  # fmt: skip
    message = refused(capsys, ["train", "--dataset", "own.npz", "--arch", "small_runs:TINY", *RUN])
    assert "label" in message
    assert not (folder / "out").exists()


def test_other_configuration_in_the_folder(folder, capsys):
    assert cli.main(["train", *FLAGS, *RUN]) == 0
    capsys.readouterr()
    before = (folder / "out" / "metrics.jsonl").read_bytes()
    message = refused(capsys, ["train", *FLAGS, "--lr", "0.5", *RUN])
    assert "lr 0.001 there, 0.5 now" in message
    assert (folder / "out" / "metrics.jsonl").read_bytes() == before


def test_run_of_another_version(folder, capsys):
    cli.main(["train", *FLAGS, *RUN])
    capsys.readouterr()
    options = folder / "out" / "options.json"
    options.write_text(json.dumps(json.loads(options.read_text()) | {"magic": 1}))
    (folder / "out" / "digests.json").unlink()
    assert "magic" in refused(capsys, ["info", "out"])


def test_out_of_memory_of_an_accelerator_names_a_batch(folder, capsys, monkeypatch):
    """The error of the training step reaches the user as it is."""
    from dalton.training import step

    def exhausted(*_):
        import torch

        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(step, "train_sequence", exhausted)
    message = refused(capsys, ["train", *FLAGS, *RUN])
    assert "batch" in message
