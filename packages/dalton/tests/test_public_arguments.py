"""Invalid arguments of public functions: one sentence that names the argument, before anything is changed."""

import copy
from typing import Any

import dalton
import numpy as np
import pytest
import torch
from dalton import Architecture, ConvSpec, IntegrateAndFire, NeuronParameters, NeuronState, SpikingCNN
from reprokit import UserError

SMALL = Architecture((ConvSpec(2, 3),), (5,))
NET: Any = SpikingCNN(SMALL, (1, 9, 9))
IMAGES: Any = torch.rand(3, 1, 9, 9)
LABELS: Any = torch.tensor([0, 1, 2])
NEURON = NeuronParameters()
nan, ones = float("nan"), torch.ones
MASK = (5, 3, 2, 7, 7)


def step(
    method: Any = "dalton", inputs: Any = IMAGES, labels: Any = LABELS, steps: Any = 5, **options: Any
) -> Any:
    optimizer = options.pop("optimizer", torch.optim.SGD(NET.parameters(), lr=0.01))
    return dalton.train_step(method, NET, optimizer, inputs, labels, steps, **options)


def made(**options: Any) -> SpikingCNN:
    return SpikingCNN(**({"arch": SMALL, "input_shape": (1, 9, 9)} | options))


def state(units: Any) -> NeuronState:
    return NeuronState(torch.zeros(units), torch.zeros(units))


CASES: dict[str, tuple[Any, str]] = {
    "inputs: array": (lambda: dalton.predict(NET, IMAGES.numpy(), 5), "inputs is a ndarray; give a torch.Tensor"),
    "inputs: list": (lambda: dalton.predict(NET, IMAGES.tolist(), 5), "inputs is a list"),
    "steps: bool": (lambda: dalton.predict(NET, IMAGES, True), "steps is True"),
    "steps: float": (lambda: step(steps=5.0), "steps is 5.0"),
    "burn_in: bool": (lambda: dalton.predict(NET, IMAGES, 5, True), "burn_in is True"),
    "burn_in: negative": (lambda: step("tfr", setting="online", burn_in=-1), "burn_in is -1"),
    "frames: nan": (lambda: dalton.predict(NET, torch.full((4, 3, 1, 9, 9), nan)), "inputs hold NaN"),
    "record of a prediction": (lambda: dalton.observe(NET, IMAGES, 5, record=["target"]), "record has target"),
    "labels: list": (lambda: step(labels=[0, 1, 2]), "labels is a list"),
    "labels: array": (lambda: step(labels=LABELS.numpy()), "labels is a ndarray"),
    "labels: float": (lambda: step(labels=LABELS.float()), "labels are torch.float32"),
    "labels: one for all": (lambda: step(labels=LABELS[:1]), r"labels have shape \(1,\)"),
    "labels: one-hot": (lambda: step(labels=torch.eye(10).long()[:3]), r"labels have shape \(3, 10\)"),
    "labels: from 1": (lambda: step(labels=LABELS + 8), "labels run from 8 to 10"),
    "method: None": (lambda: step(None), "method is None"),
    "setting: None": (lambda: step(setting=None), "setting is None"),
    "loss: None": (lambda: step(loss=None), "loss is None"),
    "optimizer: name": (lambda: step(optimizer="adam"), "optimizer is a str"),
    "generator: seed": (lambda: step(generator=3), "generator is a int"),
    "update: word": (lambda: step(update="no"), "update is 'no'"),
    "transfer_masks: word": (lambda: step(transfer_masks="no"), "transfer_masks is 'no'"),
    "masks: list": (lambda: step(dropout_masks=[1]), "dropout_masks is a list"),
    "masks: array": (lambda: step(dropout_masks={"conv1": np.ones(MASK)}), r"dropout_masks\['conv1'\] is a ndarray"),
    "masks: nan": (lambda: step(dropout_masks={"conv1": torch.full(MASK, nan)}), "negative numbers or NaN"),
    "masks: negative": (lambda: step(dropout_masks={"conv1": -ones(MASK)}), "negative numbers or NaN"),
    "forward's masks": (lambda: NET(IMAGES, 5, [1]), "dropout_masks is a list"),
    "batch: float": (lambda: NET.initial_state(2.5), "batch is 2.5"),
    "batch: 0": (lambda: NET.initial_state(0), "batch is 0"),
    "batch: bool": (lambda: NET.initial_state(True), "batch is True"),
    "step: nan": (lambda: NET.step(torch.full((2, 1, 9, 9), nan), NET.initial_state(2)), "inputs hold NaN"),
    "step: mask's shape": (
        lambda: NET.step(IMAGES, NET.initial_state(3), {"conv1": ones(2)}), r"dropout_masks\['conv1'\] has shape",
    ),
    "step: mask's name": (lambda: NET.step(IMAGES, NET.initial_state(3), {"x": ones(2)}), "dropout_masks has 'x'"),
    "step: other network": (
        lambda: NET.step(IMAGES, SpikingCNN(Architecture((ConvSpec(3, 3),), (5,)), (1, 9, 9)).initial_state(3)),
        "the state belongs to another network",
    ),
    "arch: None": (lambda: made(arch=None), "arch is None"),
    "arch: a convolution": (lambda: Architecture(ConvSpec(2, 3), (5,)), "conv is ConvSpec"),  # pyright: ignore
    "arch: a size": (lambda: Architecture((ConvSpec(2, 3),), 5), "dense is 5; give a tuple"),  # pyright: ignore
    "dropout: word": (lambda: ConvSpec(2, 3, dropout="a"), "ConvSpec dropout is 'a'"),  # pyright: ignore
    "gain: bool": (lambda: made(gain=True), "gain is True"),
    "gain: word": (lambda: made(gain="2"), "gain is '2'"),
    "bias: word": (lambda: made(bias="2"), "bias is '2'"),
    "tau: bool": (lambda: made(tau_current=True), "tau_current is True"),
    "tau: word": (lambda: made(tau_current="1e-3"), "tau_current is '1e-3'"),
    "threshold: None": (lambda: made(threshold=None), "threshold is None"),
    "threshold: tensor": (lambda: made(threshold=torch.tensor(1.0)), "threshold is tensor"),
    "dt: None": (lambda: made(dt=None), "dt is None"),
    "classes: float": (lambda: made(classes=3.0), "classes is 3.0"),
    "input_shape: float": (lambda: made(input_shape=(1.0, 9, 9)), "input_shape is 1.0"),
    "encode: frames of nan": (lambda: dalton.encode(torch.full((4, 2), nan), NET.encoder), "inputs hold NaN"),
    "encode: voltage": (
        lambda: dalton.encode(IMAGES, NET.encoder, steps=3, voltage=torch.zeros(1, 1, 9, 9)), "voltage has shape",
    ),
    "run: state": (lambda: dalton.run(ones(4, 3, 5), NEURON, state((1, 5))), r"v has shape \(1, 5\), and currents"),
    "run: integers": (lambda: dalton.run(ones(4, 3).long(), NEURON), "currents are torch.int64"),
    "run: no step": (lambda: dalton.run(ones(0, 3), NEURON), "there must be a time-step"),
    "gradient: broadcast": (lambda: dalton.current_gradient(ones(4, 3), ones(4, 1), NEURON), "spike_gradient has"),
    "gradient: longer": (lambda: dalton.current_gradient(ones(4, 3), ones(5, 3), NEURON), "spike_gradient has"),
    "neuron: state": (lambda: IntegrateAndFire()(ones(3, 5), state((1, 5))), "v has shape"),
    "neuron: integers": (lambda: IntegrateAndFire()(ones(3).long()), "currents are torch.int64"),
    "spike: scale": (lambda: dalton.spike(ones(3), -5.0), "scale is -5.0"),
    "spike: integers": (lambda: dalton.spike(ones(3).long()), "delta are torch.int64"),
    "derivative: scale": (lambda: dalton.surrogate_derivative(ones(3), nan), "scale is nan"),
    "derivative: integers": (lambda: dalton.surrogate_derivative(ones(3).long()), "delta are torch.int64"),
    "classes: one step": (lambda: dalton.classes(ones(3, 10)), r"class_outputs have shape \(3, 10\)"),
    "memory: steps": (lambda: dalton.bytes_per_sample(NET, "dalton", "bptt", -1), "steps is -1"),
    "memory: method": (lambda: dalton.bytes_per_sample(NET, "x", "bptt", 4), "method is 'x'"),
    "weight: shape": (
        lambda: dalton.draw_weight((2, -3), "uniform", torch.Generator(), torch.float32), r"shape is \(2, -3\)",
    ),
    "stream: float": (lambda: dalton.stream(1.5, "order"), "seed is 1.5"),  # pyright: ignore
    "stream: bool": (lambda: dalton.stream(True, "order"), "seed is True"),
    "trainable: module": (lambda: dalton.trainable(torch.nn.Linear(2, 2), "dalton"), "network is a Linear"),  # pyright: ignore
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_nonsense_is_one_sentence(name):
    use, part = CASES[name]
    before = copy.deepcopy(NET.state_dict())
    with pytest.raises(UserError, match=part) as error:
        use()
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in NET.state_dict().items())
    assert all(p.grad is None for p in NET.parameters())


def test_numbers_of_numpy_are_numbers():
    small = made(
        gain=np.float32(2), tau_current=np.float64(1e-3), classes=np.int32(10), threshold=np.int64(1)
    )
    assert torch.equal(small(IMAGES, np.int64(4)), NET(IMAGES, 4))
    assert len(dalton.predict(small, IMAGES, np.int32(5), np.int64(2))) == 3  # pyright: ignore
    assert NET.initial_state(np.int64(2)).encoder.shape == (2, 1, 9, 9)
    assert ConvSpec(2, 3, dropout=np.float32(0.5)).dropout == 0.5  # pyright: ignore
    assert torch.equal(
        dalton.stream(np.int64(3), "a").get_state(),  # pyright: ignore
        dalton.stream(3, "a").get_state(),
    )
    assert dalton.choose_engine("torch", "cpu").name == "torch"  # pyright: ignore


@pytest.mark.parametrize(("value", "part"), [(nan, "NaN"), (2.0, "divide by 255"), (-1.0, "divide by 255")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_part_of_the_inputs_is_looked_at(value, part, place, monkeypatch):
    monkeypatch.setattr("dalton.checks.PART", 81)  # an image
    images = IMAGES.clone()
    images[place, 0, 8, 8] = value
    with pytest.raises(UserError, match=part):
        dalton.predict(NET, images, 5)
