r"""A trained network as a graph of the Neuromorphic Intermediate Representation (NIR), out and in; needs nir.

    input -> taps (Linear) -> delays_0 (Delay) -> weights_0 (Affine) -> membrane (LI) -> output
                           -> delays_1 (Delay) -> weights_1 (Linear) ->

One tap is one synapse of an output: row j of `taps` is 1 at channel ``j // n_delays``. Output i has its delays in s in
``delays_i`` and its weights in row i of ``weights_i``; the bias is that of ``weights_0``. The constants of the membrane
are chosen for Euler steps of h, the network's `dt`, in which a reader of NIR computes

    v_t = v_{t-1} + (h / tau) (v_leak - v_{t-1} + r I_t),    tau = h / (1 - alpha),  r = 1 / (1 - alpha),  v_leak = 0,

so that v_t = alpha v_{t-1} + I_t. Weights are exact, and so is every delay in steps of h.

NIR cannot express three things: the membrane is clipped at 0 (`denram.model.neuron`), the score is its maximum
over time, and the bias ends with the input unless ``bias_in_tail`` is set. Lags are exported as applied,
including the one step by which profile ``faithful`` shortens the longest delay (DEV-1), and the graph is read back as
``fixed``.

Source: Pedersen et al. 2024, Nature Communications 15, "Neuromorphic intermediate representation".
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reprokit import UserError
from reprokit.config import rebuild
from reprokit.files import write_file
from reprokit.files.reading import guarded
from reprokit.readers.hdf5 import open_hdf5

from denram.model.delays import effective_lags
from denram.spec import NetworkSpec

SPEC = "denram"  # key of the graph's metadata for what NIR cannot express


class DelayGraph(NamedTuple):
    """A network read from a graph.

    Attributes:
        weights: Float32 (n_out, n_in * n_delays + 1), the bias last.
        delays: Whole steps, float32 (n_out, n_in * n_delays).
        spec: Sizes and constants.
    """

    weights: np.ndarray
    delays: np.ndarray
    spec: NetworkSpec


def to_nir(weights: np.ndarray, delays: np.ndarray, spec: NetworkSpec) -> Any:
    """Return a network as a `nir.NIRGraph`.

    Args:
        weights: Float32 (n_out, n_in * n_delays + 1), the bias last.
        delays: Whole steps, (n_out, n_in * n_delays).
        spec: Sizes and constants.

    Raises:
        UserError: nir is not installed, or arrays do not fit the specification.
    """
    nir, lags = _nir(), effective_lags(delays, spec)
    weights = np.asarray(weights)
    if weights.shape != (spec.n_out, spec.n_synapses + 1) or weights.dtype != np.float32:
        raise UserError(
            f"weights is {weights.dtype} {weights.shape}; it must be float32 {(spec.n_out, spec.n_synapses + 1)}."
        )
    taps = np.zeros((spec.n_synapses, spec.n_in), np.float32)
    taps[np.arange(spec.n_synapses), np.arange(spec.n_synapses) // spec.n_delays] = 1
    gain = 1 / (1 - spec.leak)
    nodes: dict[str, Any] = {"input": nir.Input(np.array([spec.n_in])), "taps": nir.Linear(taps)}
    edges = [("input", "taps"), ("membrane", "output")]
    for i in range(spec.n_out):
        row = np.zeros((spec.n_out, spec.n_synapses), np.float32)
        row[i] = weights[i, :-1]
        nodes[f"delays_{i}"] = nir.Delay(lags[i] * spec.dt)
        nodes[f"weights_{i}"] = nir.Linear(row) if i else nir.Affine(row, weights[:, -1].copy())
        edges += [("taps", f"delays_{i}"), (f"delays_{i}", f"weights_{i}"), (f"weights_{i}", "membrane")]
    nodes["membrane"] = nir.LI(
        tau=np.full(spec.n_out, spec.dt * gain), r=np.full(spec.n_out, gain), v_leak=np.zeros(spec.n_out)
    )
    nodes["output"] = nir.Output(np.array([spec.n_out]))
    held = json.dumps(asdict(replace(spec, profile="fixed")), sort_keys=True)
    return nir.NIRGraph(nodes, edges, metadata={SPEC: held})


def write_nir(path: str | Path, weights: np.ndarray, delays: np.ndarray, spec: NetworkSpec) -> Path:
    """Write a network as a NIR file in one piece and return its path; arguments and errors as `to_nir`."""
    buffer = io.BytesIO()
    _nir().write(buffer, to_nir(weights, delays, spec))
    return write_file(path, buffer.getvalue())


def read_nir(path: str | Path) -> DelayGraph:
    """Read a NIR file that `write_nir` wrote.

    Raises:
        UserError: nir is not installed, the file is damaged, or its graph is of another kind.
    """
    nir, path = _nir(), Path(path)
    with guarded(path, "a NIR file"), open_hdf5(path):  # refuses heaps in which the library never ends
        graph = nir.read(io.BytesIO(path.read_bytes()))
    return from_nir(graph, str(path))


def from_nir(graph: Any, source: str = "the graph") -> DelayGraph:
    """Return the network of a graph made by `to_nir`, bit for bit.

    Args:
        graph: A `nir.NIRGraph`.
        source: Its name in messages.

    Raises:
        UserError: A graph of another kind; the message names the first node that does not fit.
    """
    nodes = dict(getattr(graph, "nodes", {}))
    spec = _spec_of(graph, source)
    kinds = {"input": "Input", "taps": "Linear", "membrane": "LI", "output": "Output"}
    for i in range(spec.n_out):
        kinds |= {f"delays_{i}": "Delay", f"weights_{i}": "Linear" if i else "Affine"}
    for name, kind in kinds.items():
        if type(nodes.get(name)).__name__ != kind:
            found = f"is a {type(nodes[name]).__name__}" if name in nodes else "is missing"
            raise UserError(
                f"{source}: node {name!r} {found}, where denram's graphs have a {kind}; give one of denram."
            )
    if extra := sorted(set(nodes) - set(kinds)):
        raise UserError(f"{source}: node {extra[0]!r} is not one of denram's graphs; give one of denram.")
    weights = np.zeros((spec.n_out, spec.n_synapses + 1), np.float32)
    lags = np.zeros((spec.n_out, spec.n_synapses))
    weights[:, -1] = _shaped(nodes["weights_0"].bias, (spec.n_out,), "weights_0", source)
    for i in range(spec.n_out):
        seconds = _shaped(nodes[f"delays_{i}"].delay, (spec.n_synapses,), f"delays_{i}", source)
        lags[i] = np.rint(seconds / spec.dt)
        if not np.array_equal(lags[i] * spec.dt, seconds):
            raise UserError(
                f"{source}: node 'delays_{i}' has delays that are not whole steps of {spec.dt:g} s."
            )
        rows = _shaped(nodes[f"weights_{i}"].weight, (spec.n_out, spec.n_synapses), f"weights_{i}", source)
        weights[i, :-1] = rows[i]
        if np.delete(rows, i, axis=0).any():
            raise UserError(
                f"{source}: node 'weights_{i}' has weights outside of row {i}; give one of denram."
            )
    expected = to_nir(weights, lags, spec)
    for name in ("taps", "membrane"):
        for field in ("weight", "tau", "r", "v_leak"):
            wanted = getattr(expected.nodes[name], field, None)
            if wanted is not None and not np.array_equal(getattr(nodes[name], field), wanted):
                raise UserError(
                    f"{source}: node {name!r} has another {field} than its constants say; give one of denram."
                )
    if set(map(tuple, graph.edges)) != set(expected.edges):
        raise UserError(f"{source}: the edges are not those of denram's graphs; give one of denram.")
    return DelayGraph(weights, lags.astype(np.float32), spec)


def _spec_of(graph: Any, source: str) -> NetworkSpec:
    held = dict(getattr(graph, "metadata", None) or {}).get(SPEC)
    if held is None:
        raise UserError(
            f"{source} is not a graph of denram (its metadata lack {SPEC!r}, where time-step and sizes are); give one "
            "that denram wrote."
        )
    with guarded(Path(source), "a graph of denram"):
        values = json.loads(held.decode() if isinstance(held, bytes) else str(held))
    return rebuild(NetworkSpec, values, source)


def _shaped(value: Any, shape: tuple[int, ...], name: str, source: str) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != shape:
        raise UserError(
            f"{source}: node {name!r} has an array {array.shape}; the sizes of the graph ask for {shape}."
        )
    return array


def _nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise UserError("NIR needs the package nir; pip install nir.") from error
    return nir
