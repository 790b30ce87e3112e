"""The exported graph, run by an interpreter of NIR's equations, and in snnTorch and Norse where they are installed."""

import importlib
import importlib.util
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dalton import ConvSpec, SpikingCNN, cli, observe
from dalton.formats.nir import NORSE_DT, READERS, SNNTORCH_DT, clip_at_zero, how_to_read, to_nir, write_nir
from dalton.model.architectures import Architecture
from reprokit import UserError
from small_runs import FLAGS

nir = pytest.importorskip("nir", reason="needs nir")

SHAPE, STEPS = (2, 13, 10), 30
POOLED = Architecture((ConvSpec(4, 3, pool=2), ConvSpec(5, 2, pool=2)), (12, 8))
STRIDED = Architecture((ConvSpec(4, 3, stride=2), ConvSpec(5, 2, stride=1, pool=2)), (12, 8))


def network(arch=POOLED, *, positive=False, dtype=torch.float32, **options):
    """A network that fires in all layers; its potentials become negative unless its weights are positive."""
    net = SpikingCNN(arch, SHAPE, 4, seed=3, dtype=dtype, **{"tau_current": 5e-3} | options)
    with torch.no_grad():
        for name in net.layer_names:
            weight = net.weight(name)
            weight.copy_(weight.abs() * 0.15 if positive else weight * 1.5)
    return net


def inputs(events=False):
    generator = torch.Generator().manual_seed(1)
    if events:
        return torch.randint(0, 3, (STEPS, 3, *SHAPE), generator=generator, dtype=torch.uint8)
    return torch.rand(3, *SHAPE, generator=generator)


def ours(net, x):
    outputs, records = observe(net, x, STEPS if x.dim() == 4 else None, engine="torch", record=("spikes",))
    return outputs, records["spikes"]


def frames(x):
    return x if x.dim() == 5 else x.expand(STEPS, *x.shape)


def interpret(graph, x, dt, *, clip):
    """Run a chain of Conv2d and CubaLIF nodes by Euler steps of NIR's equations, in float64.

    Args:
        graph: The graph.
        x: (time, batch, ...).
        dt: Step in s.
        clip: Whether neurons, the encoder's excepted, clip negative potentials.
    """
    following = dict(graph.edges)
    states, spikes, outputs = {}, {}, []
    for frame in x.double():
        value, name = frame, following["input"]
        while name != "output":
            node = graph.nodes[name]
            if isinstance(node, nir.Conv2d):
                weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
                value = F.conv2d(value, weight, bias, tuple(node.stride), tuple(node.padding))
            else:
                assert isinstance(node, nir.CubaLIF)
                current, v = states.get(name, (torch.zeros_like(value), torch.zeros_like(value)))
                current = current + dt / torch.tensor(node.tau_syn) * (
                    torch.tensor(node.w_in) * value - current
                )
                drive = torch.tensor(node.v_leak) - v + torch.tensor(node.r) * current
                v = v + dt / torch.tensor(node.tau_mem) * drive
                value = (v > torch.tensor(node.v_threshold)).double()
                v = torch.where(value > 0, torch.tensor(node.v_reset), v)
                states[name] = (current, v.clamp(min=0) if clip and name != "encoder" else v)
                spikes.setdefault(name, []).append(value)
            name = following[name]
        outputs.append(value.flatten(1))
    return torch.stack(outputs), {name: torch.stack(found) for name, found in spikes.items()}


def same(spikes, found):
    return {
        name: torch.equal(value.flatten(2).double(), found[name].flatten(2).double())
        for name, value in spikes.items()
    }


@pytest.mark.parametrize("dt", [SNNTORCH_DT, NORSE_DT])
@pytest.mark.parametrize(
    ("arch", "options", "events"),
    [
        (POOLED, {"positive": True}, False),
        (POOLED, {"positive": True, "tau_current": None, "threshold": 0.7}, False),
        (STRIDED, {"positive": True, "gain": 1.3, "bias": 0.05}, True),
    ],
)
def test_the_graph_means_the_same_spikes_where_no_potential_is_negative(arch, options, events, dt):
    net = network(arch, dtype=torch.float64, **options)
    x = inputs(events)
    outputs, spikes = ours(net, x)
    assert all(0 < value.mean(dtype=torch.float64) < 1 for value in spikes.values())
    found, fired = interpret(to_nir(net, dt), frames(x), dt, clip=False)
    assert all(same(spikes, {name: fired[f"{name}_neurons"] for name in spikes}).values())
    assert torch.allclose(found, outputs, atol=1e-12)


@pytest.mark.parametrize("arch", [POOLED, STRIDED])
def test_clipping_is_all_that_the_graph_lacks(arch):
    net = network(arch, dtype=torch.float64)
    x = inputs()
    outputs, spikes = ours(net, x)
    graph = to_nir(net)
    found, fired = interpret(graph, frames(x), NORSE_DT, clip=True)
    assert all(same(spikes, {name: fired[f"{name}_neurons"] for name in spikes}).values())
    assert torch.allclose(found, outputs, atol=1e-12)
    _, fired = interpret(graph, frames(x), NORSE_DT, clip=False)
    assert not all(same(spikes, {name: fired[f"{name}_neurons"] for name in spikes}).values())


def test_without_the_encoder_the_graph_takes_its_spikes():
    net = network(positive=True, dtype=torch.float64)
    x = inputs()
    _, records = observe(net, x, STEPS, engine="torch", record=("encoder", "spikes"))
    graph = to_nir(net, encoder=False)
    assert "encoder" not in graph.nodes
    _, fired = interpret(graph, records["encoder"]["input"], NORSE_DT, clip=False)
    assert all(
        same(records["spikes"], {name: fired[f"{name}_neurons"] for name in records["spikes"]}).values()
    )


def test_a_file_holds_the_graph(tmp_path):
    net = network()
    path = write_nir(net, tmp_path / "net.nir")
    graph = nir.read(str(path))
    expected = to_nir(net)
    assert set(graph.edges) == set(expected.edges)
    assert np.array_equal(graph.nodes["conv1"].weight, expected.nodes["conv1"].weight)
    assert graph.nodes["dense1_neurons"].v_threshold.shape == (12, 1, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["net.nir"]


def module_of(reader, path):
    pytest.importorskip(reader, reason=f"needs {reader}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their own
        graph = nir.read(str(path))
        if reader == "snntorch":
            return importlib.import_module("snntorch.import_nir").import_from_nir(graph)
        if reader == "spikingjelly":
            pytest.importorskip("loguru", reason="SpikingJelly needs loguru")
            exchange = importlib.import_module("spikingjelly.activation_based.nir_exchange")
            return exchange.import_from_nir(graph, dt=READERS[reader][0])
        return importlib.import_module("norse.torch").from_nir(graph)


def run_module(module, x):
    """Run a module step by step and return outputs and spikes by node."""
    spikes, outputs, state = {}, [], None
    for name, part in module.named_modules():
        if name.endswith("_neurons"):
            part.register_forward_hook(
                lambda _, __, found, name=name: spikes.setdefault(name.split(".")[-1], []).append(
                    (found[0] if isinstance(found, tuple) else found).clone()
                )
            )
    with torch.no_grad():
        for frame in frames(x).float():
            found = module(frame) if state is None else module(frame, state)
            found, state = found if isinstance(found, tuple) else (found, None)
            outputs.append(found.flatten(1))
    return torch.stack(outputs), {name: torch.stack(found) for name, found in spikes.items()}


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize(
    ("arch", "positive", "events"), [(POOLED, True, False), (POOLED, False, False), (STRIDED, False, True)]
)
def test_other_simulators_give_the_same_spikes(reader, arch, positive, events, tmp_path):
    net = network(arch, positive=positive)
    x = inputs(events)
    outputs, spikes = ours(net, x)
    path = write_nir(net, tmp_path / "net.nir", READERS[reader][0])
    module = module_of(reader, path)
    if not positive:
        _, fired = run_module(module, x)
        assert not all(same(spikes, {name: fired[f"{name}_neurons"] for name in spikes}).values())
        module = module_of(reader, path)
        assert clip_at_zero(module) == len(net.layer_names)
    found, fired = run_module(module, x)
    assert all(same(spikes, {name: fired[f"{name}_neurons"] for name in spikes}).values())
    assert torch.allclose(found, outputs, atol=1e-5)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: network(reset="soft"), "a network with reset='soft' cannot be exported"),
        (
            lambda: network(Architecture((ConvSpec(3, 3, pool=2),), (4,), "max")),
            "NIR has no max-pooling, so conv1 cannot be exported",
        ),
    ],
)
def test_what_nir_lacks_is_named(net, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write_nir(net(), tmp_path / "net.nir")
    assert not list(tmp_path.iterdir())


def test_bad_arguments_are_named():
    with pytest.raises(UserError, match="dt is 0"):
        to_nir(network(), 0)
    with pytest.raises(UserError, match="has no neurons"):
        clip_at_zero(torch.nn.Linear(2, 2))


def test_steps_between_which_nothing_can_be_clipped_are_refused(tmp_path):
    path = write_nir(network(), tmp_path / "net.nir", READERS["spikingjelly"][0])
    module = module_of("spikingjelly", path)
    functional = importlib.import_module("spikingjelly.activation_based.functional")
    functional.set_step_mode(module, "m")
    with pytest.raises(UserError, match="read the graph with step_mode='s'"):
        clip_at_zero(module)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "own"
    assert cli.main(["train", *FLAGS, "--epochs", "0", "--out", str(path)]) == 0
    return path


@pytest.mark.parametrize(
    ("words", "dt", "reader"),
    [
        ([], 1e-3, "norse"),
        (["--reader", "snntorch"], 1e-4, "snntorch"),
        (["--reader", "spikingjelly"], 1e-4, "spikingjelly"),
        (["--reader", "spikingjelly", "--dt", "2e-3"], 2e-3, "spikingjelly"),
        (["--dt", "1e-4"], 1e-4, "snntorch"),
        (["--dt", "5e-4"], 5e-4, "norse"),
    ],
)
def test_export_is_for_the_readers_time_step_and_says_how_to_read_it(
    run, words, dt, reader, tmp_path, capsys
):
    file = tmp_path / "net.nir"
    assert cli.main(["export", str(run), "--out", str(file), *words]) == 0
    tau = nir.read(str(file)).nodes["encoder"].tau_syn
    assert np.allclose(tau, dt)  # no filter: the current lasts one step
    said = capsys.readouterr().out.splitlines()
    assert said[0] == str(file)
    assert said[1].startswith(f"{reader}, time-steps of {dt:g} s: module = {reader}.")
    assert said[2].endswith("dalton.clip_at_zero(module)")
    if importlib.util.find_spec(reader):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = said[1].partition("module = ")[2].partition("(")[0]
            importlib.import_module(parts.rpartition(".")[0])
            scope = {"nir": nir, "file": str(file), reader: importlib.import_module(reader)}
            module = eval(said[1].partition("module = ")[2], scope)
        assert clip_at_zero(module) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--reader", "snntorch", "--dt", "1e-3"],
            "--dt is 0.001, but snnTorch reads steps of 0.0001 s only",
        ),
        (["--to", "npz", "--dt", "1e-3"], "--dt is for --to nir"),
        (["--to", "original", "--reader", "norse"], "--reader is for --to nir"),
        (["--dt", "0"], "dt is 0.0; give the reader's time-step"),
        (["--dt", "inf"], "dt is inf"),
    ],
)
def test_contradictions_of_export_are_refused(run, words, message, tmp_path, capsys):
    assert cli.main(["export", str(run), "--out", str(tmp_path / "file"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "file").exists()


def test_a_network_without_negative_weights_needs_no_clipping():
    assert len(how_to_read("norse", NORSE_DT, signed=False)) == 1
    assert how_to_read("snntorch", SNNTORCH_DT, signed=True)[0].endswith("from_nir(nir.read(file))")
