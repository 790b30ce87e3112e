"""Every misuse of the Python interface of networks and training steps: one sentence that names it, nothing changed."""

import copy

import dalton
import pytest
import torch
from core_networks import CASES, problem
from dalton import Architecture, ConvSpec, NeuronParameters, SpikingCNN
from dalton.data.encoding import EncoderParameters
from dalton.model import memory
from reprokit import UserError

SMALL = Architecture((ConvSpec(2, 3),), (5,))


def says(error: pytest.ExceptionInfo[UserError], *parts: str) -> None:
    for part in parts:
        assert part in str(error.value), (part, str(error.value))


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: SpikingCNN("A3", (1, 8, 8)), ["A3", "too deep", "(1, 8, 8)", "conv2", "larger images"]),
        (lambda: SpikingCNN("A5", (3, 12, 32)), ["A5", "too deep", "conv4"]),
        (lambda: SpikingCNN("A6", (1, 28, 28)), ["'A6'", "A1, A2, A3, A4, A5", "Architecture"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), downsample="pool"), ["'pool'", "avgpool, maxpool, stride"]),  # pyright: ignore
        (lambda: SpikingCNN("A1", (28, 28)), ["(28, 28)", "channels, height, width"]),  # pyright: ignore
        (lambda: SpikingCNN("A1", (1, 28, 0)), ["input_shape", "0"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), classes=1), ["classes is 1", "2 or more"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), gain=0), ["gain is 0", "above 0", "1 or 2"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), gain=float("nan")), ["gain is nan"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), bias=float("inf")), ["bias is inf", "finite"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), tau_current=0.0), ["tau_current is 0.0", "above 0"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), dt=-1e-3), ["dt is -0.001"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), threshold=0.0), ["threshold is 0.0"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), surrogate_scale=-5.0), ["surrogate_scale is -5.0"]),
        (lambda: SpikingCNN("A1", (1, 28, 28), reset="zero"), ["'zero'", "hard or soft"]),  # pyright: ignore
        (lambda: SpikingCNN("A1", (1, 28, 28), readout_init="zero"), ["'zero'", "uniform or normal"]),  # pyright: ignore
        (lambda: SpikingCNN("A1", (1, 28, 28), dtype=torch.float16), ["float16", "float32 or torch.float64"]),
        (lambda: EncoderParameters(gain=-1.0), ["gain is -1.0"]),
        (lambda: NeuronParameters(tau_current=float("inf")), ["tau_current is inf"]),
        (lambda: ConvSpec(0, 3), ["channels is 0"]),
        (lambda: ConvSpec(4, 3, pool=0), ["pool is 0"]),
        (lambda: ConvSpec(4, 3, stride=1.5), ["stride is 1.5", "whole number"]),  # pyright: ignore
        (lambda: ConvSpec(4, 3, dropout=1.0), ["dropout is 1.0", "below 1"]),
        (lambda: Architecture((), (5,)), ["at least one convolution"]),
        (lambda: Architecture((ConvSpec(2, 3),), ()), ["one dense layer"]),
        (lambda: Architecture((ConvSpec(2, 3),), (0,)), ["0", "1 or more"]),
        (lambda: Architecture((ConvSpec(2, 3),), (5,), "mean"), ["'mean'", "avg or max"]),  # pyright: ignore
        (lambda: dalton.trainable(SpikingCNN(SMALL, (1, 9, 9)), "stdp"), ["'stdp'", "surrgd, tfr, dalton"]),  # pyright: ignore
    ],
)  # fmt: skip
def test_networks(make, parts):
    with pytest.raises(UserError) as error:
        make()
    says(error, *parts)


CASE = problem(41)
DROPPED = problem(41, **CASES["dropout"])
FRAMES = problem(41, **CASES["stride"])
IMAGES, LABELS = CASE.inputs, CASE.labels


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"method": "hebb"}, ["'hebb'", "surrgd, tfr, dalton", "DALTON_RTRL_SCNN"]),
        ({"setting": "rtlr"}, ["'rtlr'", "bptt, online, rtrl"]),
        ({"method": "surrgd", "setting": "online"}, ["'online'", "surrgd has bptt only", "tfr or dalton"]),
        ({"method": "SRGT_GD_SCNN", "setting": "rtrl"}, ["'rtrl'", "surrgd"]),
        ({"loss": "hinge"}, ["'hinge'", "mse or ce"]),
        ({"loss": "ce"}, ["'ce'", "dalton", "surrgd or tfr"]),
        ({"optimizer": None}, ["optimizer is None", "update=False"]),
        ({"setting": "online", "burn_in": 9}, ["burn_in is 9", "9, or nothing would be trained"]),
        ({"setting": "rtrl"}, ["burn_in is 50", "below the number of time-steps, 9"]),
        ({"setting": "online", "burn_in": -1}, ["burn_in is -1"]),
        ({"engine": "cuda"}, ["'cuda'", "auto, native or torch"]),
        ({"record": ("spikes", "voltage")}, ["voltage", "delta"]),
        ({"steps": None}, ["steps is None", "40"]),
        ({"steps": 0}, ["steps is 0"]),
        ({"steps": 4.0}, ["steps is 4.0", "whole number"]),
        ({"inputs": FRAMES.inputs, "steps": 8}, ["steps is 8", "9 frames", "leave steps out"]),
        ({"inputs": IMAGES[:, :1]}, ["(5, 1, 13, 12)", "(batch, 2, 13, 12)"]),
        ({"inputs": IMAGES[0]}, ["(2, 13, 12)", "(time, batch, 2, 13, 12)"]),
        ({"inputs": IMAGES[:0]}, ["(0, 2, 13, 12)", "a sample"]),
        ({"inputs": IMAGES * 255}, ["[0, 1]", "divide by 255"]),
        ({"inputs": IMAGES - 0.5}, ["[0, 1]"]),
        ({"inputs": IMAGES.log() * 0 / 0}, ["NaN"]),
        ({"inputs": IMAGES.to(torch.complex64)}, ["complex"]),
        ({"labels": LABELS + 4}, ["labels run from", "0 to 3"]),
        ({"labels": LABELS - 4}, ["labels run from -", "0 to 3"]),
        ({"labels": LABELS.double()}, ["float64", "int64"]),
        ({"labels": LABELS[:3]}, ["(3,)", "5 inputs need (5,)"]),
        ({"labels": LABELS[:, None]}, ["(5, 1)"]),
        ({"dropout_masks": {"conv9": IMAGES}}, ["'conv9'", "conv1, conv2, dense1, dense2"]),
        ({"dropout_masks": {"conv2": IMAGES}}, ["'conv2'", "(5, 2, 13, 12)", "(9, 5, 5,"]),
    ],
)  # fmt: skip
def test_training_steps(options, parts):
    net = copy.deepcopy(CASE.net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    full = {
        "method": "dalton", "optimizer": torch.optim.Adam(dalton.trainable(net, "dalton").values()),
        "inputs": IMAGES, "labels": LABELS, "steps": 9,
    }  # fmt: skip
    with pytest.raises(UserError) as error:
        dalton.train_step(network=net, **(full | options))
    says(error, *parts)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_dropout_needs_a_generator():
    with pytest.raises(UserError) as error:
        dalton.train_step("tfr", DROPPED.net, None, *DROPPED.batch(), update=False)
    says(error, "conv1, conv2 drop spikes", "generator", "dropout_masks={}")


def test_masks_of_several_values_need_the_torch_engine():
    if not dalton.kernel_available():
        pytest.skip("the compiled engine was not built")
    masks = {name: mask.clone() for name, mask in DROPPED.masks.items()}
    masks["conv1"][0, 0, 0] = 5.0
    with pytest.raises(UserError) as error:
        dalton.train_step("tfr", DROPPED.net, None, *DROPPED.batch(), dropout_masks=masks, engine="native",
                          update=False)  # fmt: skip
    says(error, "several values", "engine torch")


@pytest.mark.parametrize("burn_in", [9, 12, -1])
def test_prediction(burn_in):
    with pytest.raises(UserError) as error:
        dalton.predict(CASE.net, IMAGES, 9, burn_in)
    says(error, f"burn_in is {burn_in}", "9")
    with pytest.raises(UserError) as error:
        dalton.predict(CASE.net, IMAGES)
    says(error, "steps is None")


@pytest.mark.parametrize(
    ("free", "parts"),
    [(64 << 20, ["batch of about", "would fit"]), (10, ["not even one sample", "online"])],
    ids=["some free", "nothing free"],
)
def test_out_of_memory_names_a_batch_that_fits(free, parts, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr("dalton.training.step.train_sequence", exhausted)
    monkeypatch.setattr(memory, "_free_bytes", lambda _: free)
    net = SpikingCNN("A1", (1, 28, 28))
    with pytest.raises(UserError) as error:
        dalton.train_step("dalton", net, None, torch.zeros(500, 1, 28, 28), torch.zeros(500, dtype=torch.int64), 40,
                          update=False)  # fmt: skip
    says(error, "batch of 500 samples with 40 time-steps", "MiB", *parts)
    if free > 10:
        fits = int(str(error.value).split("batch of about ")[1].split()[0])
        need = memory.bytes_per_sample(net, "dalton", "bptt", 40)
        assert 1 <= fits < 500
        assert fits * need < free < (fits + 1) * need / 0.9 + 1


def test_other_errors_of_memory_pass_unchanged():
    with pytest.raises(ValueError, match="mine"), memory.helpful_out_of_memory(CASE.net, "tfr", "bptt", 1, 1):
        raise ValueError("mine")
