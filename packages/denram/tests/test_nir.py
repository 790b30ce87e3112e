"""Networks as NIR graphs: read back bit for bit, the same potentials by NIR's own equations, others refused."""

import copy
from pathlib import Path

import denram
import numpy as np
import pytest
from denram import cli
from denram.formats.nir import from_nir, read_nir, to_nir, write_nir
from reprokit import UserError

nir = pytest.importorskip("nir", reason="needs nir")

SPEC = denram.NetworkSpec(n_in=5, n_delays=3, n_out=4, steps_in=20, max_delay=6, tau_mem=17e-3)


def network(spec: denram.NetworkSpec = SPEC) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.3, (spec.n_out, spec.n_synapses + 1)).astype(np.float32)
    return weights, rng.integers(0, spec.max_delay + 1, (spec.n_out, spec.n_synapses)).astype(np.float32)


def test_a_file_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    weights, delays = network()
    found = read_nir(write_nir(tmp_path / "a.nir", weights, delays, SPEC))
    assert np.array_equal(found.weights, weights)
    assert found.weights.dtype == found.delays.dtype == np.float32
    assert np.array_equal(found.delays, delays)
    assert found.spec == SPEC


@pytest.mark.parametrize("profile", ["fixed", "faithful"])
def test_nirs_equations_give_our_potentials(profile: str) -> None:
    spec = denram.NetworkSpec(**(SPEC.settings() | {"profile": profile, "bias_in_tail": True}))
    weights, delays = network(spec)
    graph = to_nir(weights, delays, spec)
    spikes = np.random.default_rng(1).integers(0, 2, (1, spec.steps_in, spec.n_in))
    net = denram.DelayNetwork(delays, spec, engine="fft")
    expected = net.traces(weights, denram.EventBatch.from_dense(spikes)).potential[:, 0]
    li, v, potentials = graph.nodes["membrane"], np.zeros(spec.n_out), []
    for t in range(len(expected)):
        current = np.zeros(spec.n_out)
        for i in range(spec.n_out):
            lag = np.rint(graph.nodes[f"delays_{i}"].delay / spec.dt).astype(int)
            taps = graph.nodes["taps"].weight
            shown = np.array(
                [
                    taps[j] @ spikes[0, t - lag[j]] if 0 <= t - lag[j] < spec.steps_in else 0.0
                    for j in range(spec.n_synapses)
                ]
            )
            node = graph.nodes[f"weights_{i}"]
            current += node.weight @ shown + getattr(node, "bias", 0.0)
        v = np.maximum(
            v + spec.dt / li.tau * (li.v_leak - v + li.r * current), 0
        )  # clipped, as NIR has no place for
        potentials.append(v)
    np.testing.assert_allclose(potentials, expected, rtol=1e-5, atol=1e-5)
    again = from_nir(graph)
    assert again.spec.profile == "fixed"
    scores = denram.DelayNetwork(again.delays, again.spec, engine="fft").scores(
        again.weights, denram.EventBatch.from_dense(spikes)
    )
    np.testing.assert_allclose(scores[0], expected.max(0), rtol=1e-5)


@pytest.mark.slow
def test_a_run_is_exported_by_the_command(tmp_path: Path, capsys) -> None:
    words = ["train", "--data", "spoken-toy", "--n-in", "64", "--n-delays", "4", "--nb-epochs", "1", "--batch-size",
             "32", "--devices", "2", "--engine", "fft", "--out", str(tmp_path / "run")]  # fmt: skip
    assert cli.main(words) == 0
    assert cli.main(["export", str(tmp_path / "run"), "--to", "nir", "--out", str(tmp_path / "own.nir")]) == 0
    assert str(tmp_path / "own.nir") in capsys.readouterr().out
    opened, found = denram.open_run(tmp_path / "run"), read_nir(tmp_path / "own.nir")
    assert np.array_equal(found.weights, opened.weights)
    assert np.array_equal(found.delays, opened.delays)
    assert found.spec == opened.network(engine="fft").spec


def changed(**nodes: object) -> object:
    graph = copy.deepcopy(to_nir(*network(), SPEC))
    for name, node in nodes.items():
        if node is None:
            del graph.nodes[name]
        else:
            graph.nodes[name] = node
    return graph


def test_other_graphs_are_refused_by_the_node(tmp_path: Path) -> None:
    like = to_nir(*network(), SPEC).nodes
    for graph, says in (
        (nir.NIRGraph({"input": nir.Input(np.array([1])), "output": nir.Output(np.array([1]))}, [("input", "output")]),
         "is not a graph of denram"),
        (changed(delays_1=None), "node 'delays_1' is missing"),
        (changed(membrane=nir.Threshold(np.ones(4))), "node 'membrane' is a Threshold"),
        (changed(more=nir.Threshold(np.ones(4))), "node 'more'"),
        (changed(delays_2=nir.Delay(like["delays_2"].delay + 1e-4)), "node 'delays_2' has delays that are not whole"),
        (changed(weights_1=nir.Linear(np.ones((4, 15), np.float32))), "node 'weights_1' has weights outside of row 1"),
        (changed(weights_3=nir.Linear(np.ones((4, 9), np.float32))), r"node 'weights_3' has an array \(4, 9\)"),
        (changed(taps=nir.Linear(np.ones((15, 5), np.float32))), "node 'taps' has another weight"),
        (changed(membrane=nir.LI(like["membrane"].tau * 2, like["membrane"].r, np.zeros(4))), "another tau"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            from_nir(graph)
    (tmp_path / "torn.nir").write_bytes(b"\x89HDF and no more")
    with pytest.raises(UserError, match=r"torn\.nir is damaged or not a NIR file"):
        read_nir(tmp_path / "torn.nir")
    content = bytearray(write_nir(tmp_path / "heap.nir", *network(), SPEC).read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 24 : heap + 32] = (
        b"\xff" * 8
    )  # the size of its first object: the library would loop in it endlessly
    (tmp_path / "heap.nir").write_bytes(content)
    with pytest.raises(UserError, match=rf"heap\.nir: the heap at byte {heap} is damaged"):
        read_nir(tmp_path / "heap.nir")
    with pytest.raises(UserError, match="weights is float64"):
        to_nir(network()[0].astype(float), network()[1], SPEC)
