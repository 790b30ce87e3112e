"""Convolutions in TF32 and bfloat16 on the CPU: rounding, equality with torch's own, and what they cost in accuracy."""

import copy
import pickle

import dalton
import pytest
import torch
import torch.nn.functional as F
from core_networks import CASES, problem
from dalton import SpikingCNN, predict, train_step
from dalton.config import TrainConfig
from dalton.engines import choice
from dalton.engines.reference import TorchEngine
from dalton.model.build import build_network
from dalton.model.precision import reduced, rounded
from reprokit import UserError
from reprokit.run.provenance import run_id


@pytest.fixture
def _no_warning_yet():
    choice._warn_once.cache_clear()
    yield
    choice._warn_once.cache_clear()


def test_rounding_is_to_the_nearest_with_ties_to_even():
    unit = 2.0**-10
    values = torch.tensor([1, 1 + unit / 2, 1 + 3 * unit / 2, 1 + unit * 0.501, -1 - unit * 0.499, 0, -0.0])
    wanted = torch.tensor([1, 1, 1 + 2 * unit, 1 + unit, -1, 0, -0.0])
    assert torch.equal(rounded(values, "tf32"), wanted)
    assert torch.equal(torch.signbit(rounded(values, "tf32")), torch.signbit(wanted))
    odd = torch.tensor([float("inf"), -float("inf"), float("nan"), 2.0**-140, 3.4e38])
    torch.testing.assert_close(rounded(odd, "tf32"), odd, rtol=2**-11, atol=2.0**-137, equal_nan=True)
    many = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 100
    exponent = torch.frexp(many.double())[1]
    for convolution, bits in (("tf32", 11), ("bf16", 8)):
        scale = torch.exp2((bits - exponent).double())
        assert torch.equal(rounded(many, convolution).double(), torch.round(many.double() * scale) / scale)
    assert rounded(many, "full") is many


def test_the_path_of_the_cpu_is_the_convolution_of_bfloat16_arrays():
    stream = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(shape, generator=stream) for shape in ((4, 3, 9, 9), (5, 3, 3, 3)))
    found = reduced(F.conv2d, "bf16", x, weight)
    other = F.conv2d(x.bfloat16(), weight.bfloat16()).float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, other, rtol=2**-7, atol=1e-6)  # a unit of bfloat16
    assert (found == other).float().mean() > 0.95
    assert not torch.equal(found, F.conv2d(x, weight))


@pytest.mark.parametrize("name", ["avgpool", "maxpool dropout", "stride"])
@pytest.mark.parametrize(("convolution", "near"), [("tf32", 2**-10), ("bf16", 2**-7)])
def test_a_layer_computes_what_full_digits_give_up_to_the_rounding(name, convolution, near):
    """Its currents, and both gradients of given errors; of a training, spikes that flip would hide the rounding."""
    case = problem(7, torch.float32, **CASES[name])
    spec, stream = case.net.layers[0], torch.Generator().manual_seed(2)
    weight = case.net.weight(spec.name).detach()
    spikes = (torch.rand((4, 3, *spec.input_shape), generator=stream) < 0.3) / 0.7
    error = torch.randn((4, 3, *spec.output_shape), generator=stream)
    full, fewer = (TorchEngine(None, kind).bind(spec, weight) for kind in ("full", convolution))
    (currents, switches), (found, _) = full.currents(spikes), fewer.currents(spikes)
    pairs = [
        (currents, found),
        (full.adjoint(error, switches), fewer.adjoint(error, switches)),
        (full.weight_gradient(spikes, error, switches), fewer.weight_gradient(spikes, error, switches)),
    ]
    for wanted, other in pairs:
        assert 0 < (other - wanted).norm() / wanted.norm() < near


def test_dense_layers_and_the_network_itself_compute_in_full():
    case = problem(3, torch.float32, pool=2)
    images = case.inputs
    full = case.net(images, steps=4, dropout_masks={})
    case.net.convolution = "bf16"
    assert torch.equal(case.net(images, steps=4, dropout_masks={}), full)


def test_an_older_pickle_computes_in_full():
    net = SpikingCNN("A1", (1, 14, 14), convolution="bf16")
    assert pickle.loads(pickle.dumps(net)).convolution == "bf16"
    del net.__dict__["convolution"]
    assert pickle.loads(pickle.dumps(net)).convolution == "full"


@pytest.mark.usefixtures("_no_warning_yet")
def test_the_engine_that_computes_it_is_chosen_and_named():
    net, images = SpikingCNN("A1", (1, 14, 14), convolution="tf32"), torch.rand(2, 1, 14, 14)
    with pytest.raises(
        UserError, match="convolution is 'tf32', which the compiled engine does not compute; choose"
    ):
        predict(net, images, steps=3, engine="native")
    if choice.kernel_available():
        with pytest.warns(RuntimeWarning, match=r"convolution is 'tf32'.*the torch engine runs instead"):
            found = predict(net, images, steps=3)
        assert torch.equal(found, predict(net, images, steps=3, engine="torch"))
    with pytest.raises(UserError, match=r"'tf32' and the weights are torch\.float64; it takes float32"):
        predict(copy.deepcopy(net).double(), images, steps=3, engine="torch")
    with pytest.raises(UserError, match="convolution is 'fp8'; choose full, tf32, bf16"):
        SpikingCNN("A1", (1, 14, 14), convolution="fp8")


def test_a_run_names_its_digits_only_where_they_are_fewer():
    plain, other = TrainConfig(), TrainConfig(convolution="bf16")
    assert "convolution" not in plain.content()
    assert other.content()["convolution"] == "bf16"
    assert run_id(plain.content()) != run_id(other.content())
    assert build_network(other, (1, 14, 14), 10).convolution == "bf16"
    for option, value in (("dtype", "float64"), ("engine", "native")):
        with pytest.raises(
            UserError, match=f"--convolution is bf16, which --{option} {value} does not compute"
        ):
            TrainConfig(convolution="bf16", **{option: value})
    with pytest.raises(UserError, match="--convolution is 'half'; it must be one of full, tf32, bf16"):
        TrainConfig(convolution="half")


def test_accuracy_of_a_small_training():
    """Digits, three epochs, 359 test images: fewer digits classify about as many of them."""
    digits = dalton.data.load("digits", steps=10)
    arch = dalton.Architecture((dalton.ConvSpec(8, 3, pool=2),), dense=(32,))
    right = {}
    for convolution in ("full", "tf32", "bf16"):
        net = SpikingCNN(arch, digits.input_shape, seed=0, convolution=convolution)
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for epoch in (1, 2, 3):
            for images, labels in digits.train.batches(50, epoch):
                train_step(
                    "surrgd", net, optimizer, images, labels, steps=10, engine="torch", dropout_masks={}
                )
        right[convolution] = dalton.evaluate(net, digits.test, engine="torch").accuracy
    assert right["full"] > 0.7
    assert abs(right["tf32"] - right["full"]) < 0.06
    assert abs(right["bf16"] - right["full"]) < 0.06
