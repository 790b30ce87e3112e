"""The compiled engine against the torch engine, thread counts, instruction sets, and what happens without a kernel."""

import copy
import subprocess
import sys
import warnings

import pytest
import torch
from core_networks import CASES, Problem, problem, random_options
from dalton import (
    Architecture,
    ConvSpec,
    SpikingCNN,
    StepResult,
    evaluate,
    observe,
    predict,
    train_step,
    trainable,
)
from dalton.data.samples import Images, Portion
from dalton.engines import choice as engine
from dalton.engines import gpu as gpu_kernels
from reprokit import UserError
from torch import Tensor

needs_kernel = pytest.mark.skipif(not engine.kernel_available(), reason="the compiled engine was not built")
RULES = [("surrgd", "bptt"), ("tfr", "bptt"), ("dalton", "bptt"), ("tfr", "online"), ("dalton", "online")]


def step(
    case: Problem, method: str, setting: str, name: str, **options: object
) -> tuple[StepResult, SpikingCNN]:
    """Return the result of one training step on a copy of the network, and the copy."""
    net = copy.deepcopy(case.net)
    optimizer = torch.optim.SGD(trainable(net, method).values(), lr=1e-2)  # pyright: ignore[reportArgumentType]
    result = train_step(
        method, net, optimizer, *case.batch(), setting=setting, burn_in=0, dropout_masks=case.masks, engine=name,
        record=("spikes", "gradient"), **options,
    )  # pyright: ignore[reportArgumentType, reportCallIssue]  # fmt: skip
    return result, net


def assert_close(found: Tensor, wanted: Tensor, relative: float) -> None:
    torch.testing.assert_close(
        found, wanted, rtol=0, atol=relative * max(1e-3, wanted.abs().max().item()), check_dtype=True
    )


def assert_same_spikes(found: StepResult, wanted: StepResult) -> None:
    for name, spikes in wanted.records["spikes"].items():
        assert torch.equal(found.records["spikes"][name], spikes.to(found.records["spikes"][name].dtype)), (
            name
        )


@needs_kernel
@pytest.mark.parametrize("seed", range(12))
def test_native_is_torch_on_random_architectures(seed):
    case = problem(seed, **random_options(seed))
    for method, setting in RULES:
        wanted, reference = step(case, method, setting, "torch")
        found, net = step(case, method, setting, "native")
        assert min(wanted.firing_rates.values()) > 0
        assert_same_spikes(found, wanted)
        assert_close(torch.as_tensor(found.loss), torch.as_tensor(wanted.loss), 1e-11)
        assert_close(found.class_outputs, wanted.class_outputs, 1e-11)
        assert found.firing_rates == wanted.firing_rates
        for name, gradient in wanted.records["gradient"].items():
            assert_close(found.records["gradient"][name], gradient, 1e-11)
        for name, weight in reference.named_parameters():
            assert_close(net.get_parameter(name).detach(), weight.detach(), 1e-11)


@needs_kernel
@pytest.mark.parametrize("seed", range(12))
def test_float32_is_as_accurate_as_torch(seed):
    """Both are compared with float64; the error of the compiled engine may be a few times that of torch."""
    single = problem(seed, torch.float32, **random_options(seed))
    double = single._replace(
        net=copy.deepcopy(single.net).double(),
        masks={name: mask.double() for name, mask in single.masks.items()},
    )
    for method, setting in RULES:
        exact, _ = step(double, method, setting, "torch")
        theirs, _ = step(single, method, setting, "torch")
        found, _ = step(single, method, setting, "native")
        assert_same_spikes(found, exact)
        assert_same_spikes(theirs, exact)
        for name, gradient in exact.records["gradient"].items():
            largest = gradient.abs().max().item()
            ours = (found.records["gradient"][name] - gradient).abs().max().item()
            usual = (theirs.records["gradient"][name] - gradient).abs().max().item()
            assert found.records["gradient"][name].dtype == torch.float32
            assert ours <= 5 * usual + 2e-5 * largest, (method, setting, name)


@needs_kernel
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("masks", [False, True], ids=["faithful", "transfer masks"])
def test_native_is_torch_with_transfer_masks(name, masks):
    case = problem(31, **CASES[name])
    wanted, _ = step(case, "dalton", "bptt", "torch", transfer_masks=masks)
    found, _ = step(case, "dalton", "bptt", "native", transfer_masks=masks)
    for layer, gradient in wanted.records["gradient"].items():
        assert_close(found.records["gradient"][layer], gradient, 1e-11)


@needs_kernel
@pytest.mark.parametrize(("method", "setting"), RULES, ids=lambda value: value)
def test_threads_do_not_change_a_bit(method, setting):
    """A batch that is divided into several blocks and groups, with dropout drawn."""
    steps = 12 if setting == "bptt" else 4
    case = problem(8, torch.float32, batch=37, steps=steps, pool=2, dropout=0.2, channels=(16, 32),
                   dense=(64, 40), size=(1, 28, 28))  # fmt: skip
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        net = copy.deepcopy(case.net)
        optimizer = torch.optim.Adam(trainable(net, method).values(), lr=1e-3)
        for batch in range(2):
            result = train_step(
                method, net, optimizer, *case.batch(), setting=setting, burn_in=1, engine="native",
                generator=torch.Generator().manual_seed(batch),
            )  # fmt: skip
        results.append((result, net, predict(net, *case.batch()[::2], engine="native")))
    first, net, outputs = results[0]
    for other, same, again in results[1:]:
        assert torch.equal(torch.as_tensor(first.loss), torch.as_tensor(other.loss))
        assert torch.equal(first.class_outputs, other.class_outputs)
        assert torch.equal(outputs, again)
        for parameter in net.state_dict():
            assert torch.equal(net.state_dict()[parameter], same.state_dict()[parameter]), parameter


@needs_kernel
@pytest.mark.parametrize(("method", "setting"), RULES, ids=lambda value: value)
def test_threads_do_not_change_a_bit_of_one_large_block(method, setting):
    """Many samples and few steps, whose sums torch would divide among its threads."""
    images = torch.rand(100, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        net = SpikingCNN("A1", (3, 20, 20))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        result = train_step(
            method, net, optimizer, images, torch.arange(100) % 10, 4, setting, burn_in=1, engine="native",
            record=("gradient",),
        )  # fmt: skip
        assert torch.get_num_threads() == threads
        found.append(result.records["gradient"])
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


@needs_kernel
@pytest.mark.parametrize("downsample", ["avgpool", "maxpool"])
def test_prediction_depends_on_neither_threads_nor_batch_size(downsample):
    """To the last bit with the compiled engine, up to rounding with torch's."""
    net = SpikingCNN("A1", (3, 20, 20), downsample=downsample)
    images = torch.rand(40, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    pixels = Images((255 * images).byte())
    portion = Portion(pixels, torch.arange(40), torch.arange(40) % 10, 9, events=False)
    wanted = {name: predict(net, images, 9, engine=name) for name in ("native", "torch")}
    evaluated = None
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for size in (1, 7, 40):
            parts = [predict(net, part, 9, engine="native") for part in images.split(size)]
            assert torch.equal(torch.cat(parts, 1), wanted["native"]), (threads, size)
            found = evaluate(net, portion, batch_size=size, engine="native")
            evaluated = evaluated or found
            assert torch.equal(found.predictions, evaluated.predictions)
            assert found.alike == evaluated.alike
        parts = [predict(net, part, 9, engine="torch") for part in images.split(16)]
        torch.testing.assert_close(torch.cat(parts, 1), wanted["torch"], rtol=1e-4, atol=1e-5)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_instruction_sets_agree(dtype, monkeypatch):
    case = problem(9, dtype, pool=2, dropout=0.2, batch=6, channels=(20, 33), size=(2, 16, 15))
    wanted, _ = step(case, "dalton", "bptt", "torch")
    assert engine._kernel is not None
    assert engine._kernel.has_isa("portable")
    gradients = {}
    for isa in engine._kernel.all_isa():
        monkeypatch.setenv("REPROKIT_ISA", isa)
        found, _ = step(case, "dalton", "bptt", "native")
        gradients[isa] = found.records["gradient"]
        for name, gradient in wanted.records["gradient"].items():
            assert_close(gradients[isa][name], gradient, 1e-11 if dtype == torch.float64 else 5e-4)
    # Decision 16: what fuses products and sums is AVX2 and AVX-512 in float32, AVX-512 alone in float64.
    pair = ("avx512", "avx2") if dtype == torch.float32 else ("avx2", "portable")
    if all(isa in gradients for isa in pair):
        for name, gradient in gradients[pair[0]].items():
            assert torch.equal(gradient, gradients[pair[1]][name]), name


@needs_kernel
def test_instructions_that_are_not_there(monkeypatch):
    monkeypatch.setenv("REPROKIT_ISA", "sse9")
    with pytest.raises(UserError, match=r"REPROKIT_ISA is 'sse9'; .* have .*: choose one of them"):
        engine.choose_engine("auto", torch.device("cpu"))


@needs_kernel
def test_prediction_is_forward():
    for name in CASES:
        case = problem(10, **CASES[name])
        wanted = case.net.eval()(case.inputs, case.steps).detach()
        for chosen in ("torch", "native"):
            outputs = predict(case.net, case.inputs, case.steps, burn_in=2, engine=chosen)
            torch.testing.assert_close(outputs, wanted[2:], rtol=1e-9, atol=1e-12)
    assert observe(case.net, case.inputs, case.steps)[1] == {}


@needs_kernel
def test_division_of_the_batch_is_invisible():
    """Blocks, the last one smaller: the gradient of a batch is the mean over its samples."""
    case = problem(11, batch=21, steps=6, pool=2)
    whole = step(case, "dalton", "bptt", "native")[0].records["gradient"]
    for name in case.net.layer_names:
        total = sum(
            step(case._replace(inputs=case.inputs[k : k + 1], labels=case.labels[k : k + 1]), "dalton", "bptt",
                 "native")[0].records["gradient"][name]
            for k in range(21)
        )  # fmt: skip
        assert_close(whole[name], total / 21, 1e-11)  # pyright: ignore[reportOperatorIssue]


def test_without_kernel_one_warning_and_the_torch_engine(monkeypatch):
    monkeypatch.setattr(engine, "_kernel", None)
    engine._warn_once.cache_clear()
    assert not engine.kernel_available()
    case = problem(12)
    with pytest.warns(RuntimeWarning, match="torch engine runs instead"):
        found, _ = step(case, "dalton", "bptt", "auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, _ = step(case, "dalton", "bptt", "auto")
        wanted, _ = step(case, "dalton", "bptt", "torch")
    for name, gradient in wanted.records["gradient"].items():
        assert torch.equal(found.records["gradient"][name], gradient)
        assert torch.equal(again.records["gradient"][name], gradient)
    with pytest.raises(UserError, match=r"native.*not built.*torch"):
        step(case, "dalton", "bptt", "native")
    engine._warn_once.cache_clear()


HIDDEN = """
import sys, warnings
sys.modules["dalton._kernel"] = None  # as in an installation without a compiler
import dalton, torch
from dalton.cli import main
net = dalton.SpikingCNN("A1", (1, 28, 28))
images = torch.rand(2, 1, 28, 28)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(3):
        dalton.predict(net, images, steps=4)
assert ["torch engine runs instead" in str(one.message) for one in said] == [True], said
assert not dalton.kernel_available()
assert main(["--version"]) == 0 and main(["info"]) == 0
sys.exit(main(["train", "--dataset", "digits", "--engine", "native", "--out", sys.argv[1]]))
"""


@pytest.mark.slow
def test_an_installation_without_the_core(tmp_path):
    """The slower engine runs and says so once; asking for the compiled one by name gives one sentence."""
    command = [sys.executable, "-c", HIDDEN, str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: engine 'native' was not built; reinstall with g++ or clang++")
    assert len(ended.stderr.splitlines()) == 1
    assert "core: none compiled" in ended.stdout
    assert not (tmp_path / "run").exists()


def test_a_gpu_without_triton_is_slower_and_says_so(monkeypatch):
    monkeypatch.setattr(gpu_kernels, "_kernels", lambda: None)
    engine._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"Triton is missing.*slower"):
        chosen = engine.choose_engine("auto", torch.device("cuda"))
    assert not chosen.fused  # pyright: ignore[reportAttributeAccessIssue]
    engine._warn_once.cache_clear()


@needs_kernel
def test_auto_takes_the_kernel_where_it_can():
    cpu = torch.device("cpu")
    assert engine.choose_engine("auto", cpu).name == "native"
    engine._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"^it is too big: the torch engine runs instead.*slower"):
        assert engine.choose_engine("auto", cpu, beyond="it is too big").name == "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Triton is missing
        assert engine.choose_engine("auto", torch.device("cuda")).name == "torch"
    with pytest.raises(UserError, match=r"cuda.*torch"):
        engine.choose_engine("native", torch.device("cuda"))
    case = problem(13, **CASES["dropout"])
    case.masks["conv1"][0, 0, 0] = 3.0
    with pytest.warns(RuntimeWarning, match=r"several values.*torch engine runs instead"):
        assert step(case, "tfr", "bptt", "auto")[0].loss == step(case, "tfr", "bptt", "torch")[0].loss
    engine._warn_once.cache_clear()


@needs_kernel
def test_windows_that_a_switch_cannot_number(monkeypatch):
    wide = Architecture((ConvSpec(2, 3, pool=17),), dense=(8,), pool_type="max")
    net = SpikingCNN(wide, (1, 40, 40), seed=0)
    images = torch.rand(2, 1, 40, 40)
    with pytest.raises(UserError, match=r"conv1 .* 17 x 17, and .* up to 16 x 16; choose engine torch"):
        predict(net, images, steps=3, engine="native")
    engine._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"17 x 17.*torch engine runs instead"):
        found = predict(net, images, steps=3)
    engine._warn_once.cache_clear()
    assert torch.equal(found, predict(net, images, steps=3, engine="torch"))
    monkeypatch.setattr(engine, "too_wide", lambda _: None)
    with pytest.raises(ValueError, match="windows of up to 16 x 16"):  # the core trusts no caller
        predict(net, images, steps=3, engine="native")


@needs_kernel
@pytest.mark.parametrize("pool", [3, 16])
def test_largest_windows(pool):
    wide = Architecture((ConvSpec(3, 3, pool=pool),), dense=(8,), pool_type="max")
    net = SpikingCNN(wide, (2, 40, 37), seed=0, dtype=torch.float64)
    images, labels = torch.rand(2, 2, 40, 37, dtype=torch.float64), torch.tensor([0, 9])
    results = [
        train_step(
            "surrgd",
            net,
            None,
            images,
            labels,
            steps=6,
            engine=name,
            update=False,
            record=("gradient", "spikes"),
        )
        for name in ("torch", "native")
    ]
    assert_same_spikes(results[1], results[0])
    for name, gradient in results[0].records["gradient"].items():
        assert gradient.abs().max() > 0, name
        assert_close(results[1].records["gradient"][name], gradient, 1e-11)
