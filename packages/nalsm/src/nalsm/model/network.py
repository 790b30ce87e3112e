"""Random three-dimensional liquids: placement, distance-dependent wiring, input synapses, signs.

A neuron at grid distance d connects to another with probability C exp(-(d / lambda)^2), where C depends on
whether the two are excitatory (E) or inhibitory (I). All random numbers come from NumPy's legacy generator in
the order of the original program, so a seed gives the same network (Ivanov & Michmizos 2021, and its code).
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError
from reprokit.files.atomic import write_file
from reprokit.files.reading import array_of, guarded

from nalsm.checks import real, whole


@dataclass(frozen=True)
class NetworkSpec:
    """The parameters from which a network is generated."""

    dims: tuple[int, int, int] = (10, 10, 10)
    """Grid points in each direction; their product is the number N of liquid neurons."""
    inputs: int = 784
    seed: int = 0
    input_density: float = 0.15
    """Share of all (liquid, input) pairs that are connected."""
    output_density: float = 0.02
    """Share of liquid neurons wired to the original's unused output neuron (weight 0)."""
    excitatory_fraction: float = 0.8
    connection: tuple[float, float, float, float] = (0.2, 0.1, 0.3, 0.05)
    """C for E->E, E->I, I->E, I->I."""
    length: float = 3.0
    """lambda, in grid steps."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if np.ndim(self.dims) != 1 or len(self.dims) != 3:
            raise UserError(f"dims is {self.dims}; give three whole numbers of 1 or more.")
        object.__setattr__(self, "dims", tuple(whole(f"dims {tuple(self.dims)}", d, 1) for d in self.dims))
        object.__setattr__(self, "inputs", whole("inputs", self.inputs, 1))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        for name in ("input_density", "output_density", "excitatory_fraction"):
            real(name, getattr(self, name), least=0.0, most=1.0)
        if len(self.connection) != 4 or any(not 0.0 <= c <= 1.0 for c in self.connection):
            raise UserError(f"connection is {self.connection}; give four probabilities in [0, 1].")
        real("length", self.length, above=0.0)
        if self.seed >= 2**32:
            raise UserError(f"seed is {self.seed}; it must lie in [0, 2**32).")


@dataclass(frozen=True)
class LiquidNetwork:
    """A wiring: neurons 0..excitatory-1, then inhibitory, then input, then one unused output neuron.

    Attributes:
        post, pre: int32 (synapse), sorted by post, then pre.
        sign: int8 (synapse), +1 or -1; 0 for synapses onto the output neuron.
        position: int16 (3, liquid), grid coordinates.
    """

    post: np.ndarray
    pre: np.ndarray
    sign: np.ndarray
    position: np.ndarray
    excitatory: int
    inhibitory: int
    inputs: int
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def liquid(self) -> int:
        """Number of liquid neurons."""
        return self.excitatory + self.inhibitory

    @property
    def dims(self) -> tuple[int, int, int]:
        """Grid points in each direction: as generated, or from the largest positions."""
        known = self.metadata.get("dims", [int(axis.max(initial=-1)) + 1 for axis in self.position])
        return (int(known[0]), int(known[1]), int(known[2]))

    @property
    def neurons(self) -> int:
        """Number of liquid and input neurons."""
        return self.liquid + self.inputs

    @property
    def active(self) -> np.ndarray:
        """Mask (synapse) of the synapses that carry signals: all but those onto the output neuron."""
        return self.post < self.liquid

    def start_weights(self, magnitude: float) -> np.ndarray:
        """Return float32 weights sign * magnitude of the active synapses.

        Raises:
            UserError: if magnitude is not a positive number.
        """
        if not (np.isfinite(magnitude) and magnitude > 0):
            raise UserError(f"weight magnitude is {magnitude}; it must be above 0.")
        return (self.sign[self.active] * np.float32(magnitude)).astype(np.float32)

    def without_recurrence(self) -> LiquidNetwork:
        """Return the same network without synapses between liquid neurons; all input synapses stay."""
        kept = ~(self.active & (self.pre < self.liquid))
        return replace(
            self, post=self.post[kept], pre=self.pre[kept], sign=self.sign[kept],
            metadata={**self.metadata, "recurrence": False},
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the whole network into one compressed .npz file."""
        return write_file(Path(path), self.encoded())

    def encoded(self) -> bytes:
        """Return the content of the network's file."""
        header = {"excitatory": self.excitatory, "inhibitory": self.inhibitory, "inputs": self.inputs}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            post=self.post,
            pre=self.pre,
            sign=self.sign,
            position=self.position,
            header=np.frombuffer(json.dumps(header | {"metadata": self.metadata}).encode(), np.uint8),
        )
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> LiquidNetwork:
        """Read a network written by `save`.

        Raises:
            UserError: if the file is missing, damaged or not a network.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such network file; make one with `nalsm network --out {path}`.")
        return cls.decoded(path.read_bytes(), path)

    @classmethod
    def decoded(cls, content: bytes, path: Path) -> LiquidNetwork:
        """Read the content of a network's file; messages call it `path`.

        Raises:
            UserError: if it is damaged or not a network.
        """
        with guarded(path, "a network file", "generate the network again"):
            with np.load(io.BytesIO(content), allow_pickle=False) as data:
                header = json.loads(data["header"].tobytes().decode())
                arrays = {name: array_of(data[name]) for name in ("post", "pre", "sign", "position")}
            network = cls(**arrays, **header)
            _check(network, path)
        return network


def _check(network: LiquidNetwork, path: Path) -> None:
    shapes = {a.shape for a in (network.post, network.pre, network.sign)}
    order = network.post.astype(np.int64) * (network.neurons + 1) + network.pre
    sound = (
        len(shapes) == 1
        and network.position.shape == (3, network.liquid)
        and network.post.min(initial=0) >= 0
        and network.post.max(initial=0) <= network.neurons
        and network.pre.min(initial=0) >= 0
        and network.pre.max(initial=0) < network.neurons
        and bool(np.all(np.diff(order) > 0))
    )
    if not sound:
        raise UserError(f"{path}: synapse lists of wrong shape, range or order; generate the network again.")


def memory_needed(spec: NetworkSpec) -> int:
    """Estimate the peak memory, in bytes, of generating a network from its sizes."""
    liquid = int(np.prod([int(d) for d in spec.dims], dtype=np.int64))
    return 8 * liquid * liquid * 2 + 8 * liquid * spec.inputs * 3


def _available_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 1 << 62


def generate(spec: NetworkSpec) -> LiquidNetwork:
    """Generate a network; a seed gives the network of the original program bit for bit.

    Order of draws: permutation(N) for the placement, random((N, N)) for recurrent synapses, permutation(N n_inp) for
    input synapses, permutation(N) for output synapses, randint(0, 2) for the signs of input synapses.

    Raises:
        UserError: if the network would not fit into memory.
    """
    needed, available = memory_needed(spec), _available_memory()
    if needed > available:
        raise UserError(
            f"dims {spec.dims} with {spec.inputs} inputs need {needed / 2**30:.1f} GiB to generate, of "
            f"{available / 2**30:.1f} GiB; choose a smaller liquid."
        )
    stream = np.random.RandomState(spec.seed)
    liquid = int(np.prod(spec.dims))
    excitatory = round(spec.excitatory_fraction * liquid)
    position = _place(spec, stream, liquid)
    post, pre = _recurrent(spec, stream, position, excitatory)
    sign = np.where(pre < excitatory, 1, -1)
    pairs = stream.permutation(liquid * spec.inputs)[: int(spec.input_density * liquid * spec.inputs)]
    output_pre = stream.permutation(liquid)[: int(spec.output_density * liquid)]
    input_sign = stream.randint(0, 2, liquid * spec.inputs)[pairs] * 2 - 1
    post = np.concatenate([post, pairs // spec.inputs, np.full(len(output_pre), liquid + spec.inputs)])
    pre = np.concatenate([pre, pairs % spec.inputs + liquid, output_pre])
    sign = np.concatenate([sign, input_sign, np.zeros(len(output_pre), np.int64)])
    order = np.lexsort((pre, post))
    return LiquidNetwork(
        post=post[order].astype(np.int32),
        pre=pre[order].astype(np.int32),
        sign=sign[order].astype(np.int8),
        position=position.astype(np.int16),
        excitatory=excitatory,
        inhibitory=liquid - excitatory,
        inputs=spec.inputs,
        metadata={**asdict(spec), "dims": list(spec.dims), "connection": list(spec.connection)},
    )


def _place(spec: NetworkSpec, stream: np.random.RandomState, liquid: int) -> np.ndarray:
    permutation = stream.permutation(liquid)
    return np.stack(np.unravel_index(permutation, spec.dims))


def _recurrent(
    spec: NetworkSpec, stream: np.random.RandomState, position: np.ndarray, excitatory: int
) -> tuple[np.ndarray, np.ndarray]:
    liquid = position.shape[1]
    inhibitory = (np.arange(liquid) >= excitatory).astype(np.int64)
    table = np.array([[spec.connection[0], spec.connection[2]], [spec.connection[1], spec.connection[3]]])
    chance = stream.random_sample((liquid, liquid))
    posts, pres = [], []
    for begin in range(0, liquid, 512):  # rows in blocks, so that the whole distance matrix is never needed
        rows = np.arange(begin, min(begin + 512, liquid))
        squared = sum(
            (axis[rows, None].astype(float) - axis[None, :].astype(float)) ** 2 for axis in position
        )
        distance = np.sqrt(squared)
        probability = table[inhibitory[rows, None], inhibitory[None, :]] * np.exp(
            -((distance / spec.length) ** 2)
        )
        probability[np.arange(len(rows)), rows] = 0.0
        row, column = np.nonzero(probability > chance[rows])
        posts.append(rows[row])
        pres.append(column)
    return np.concatenate(posts), np.concatenate(pres)


def weight_statistics(network: LiquidNetwork) -> dict[str, float]:
    """Return mean and variance of the dense blocks of the sign matrix, by kind of presynaptic neuron."""
    exc, liquid, neurons = network.excitatory, network.liquid, network.neurons
    inside = network.active
    values = {}
    for name, begin, end in (("exc", 0, exc), ("inh", exc, liquid), ("inp", liquid, neurons)):
        chosen = inside & (network.pre >= begin) & (network.pre < end)
        sign = network.sign[chosen].astype(np.float64)
        size = max((end - begin) * liquid, 1)
        mean = sign.sum() / size
        values[f"mean_{name}"] = mean
        values[f"var_{name}"] = (sign**2).sum() / size - mean**2
    output = network.sign[~inside].astype(np.float64)
    values["mean_out"] = float(output.sum() / max(liquid, 1))
    values["var_out"] = float((output**2).sum() / max(liquid, 1) - values["mean_out"] ** 2)
    return values


def connection_statistics(network: LiquidNetwork) -> dict[str, float]:
    """Return connection counts by kind, mean recurrent distance and spread of in- and out-degree."""
    exc, liquid = network.excitatory, network.liquid
    recurrent = network.active & (network.pre < liquid)
    post, pre = network.post[recurrent], network.pre[recurrent]
    inputs = network.active & (network.pre >= liquid)
    position = network.position.astype(np.float64)
    distance = np.sqrt(((position[:, post] - position[:, pre]) ** 2).sum(0))
    return {
        "n_EE": int(((pre < exc) & (post < exc)).sum()),
        "n_EI(exc->inh)": int(((pre < exc) & (post >= exc)).sum()),
        "n_IE(inh->exc)": int(((pre >= exc) & (post < exc)).sum()),
        "n_II": int(((pre >= exc) & (post >= exc)).sum()),
        "n_input_syn": int(inputs.sum()),
        "n_output_syn": int((~network.active).sum()),
        "mean_distance_of_recurrent_synapses": float(distance.mean()) if len(distance) else 0.0,
        "n_positive_input_weights": int((network.sign[inputs] > 0).sum()),
        "std_in_degree_recurrent": float(np.bincount(post, minlength=liquid).std()),
        "std_out_degree_recurrent": float(np.bincount(pre, minlength=liquid).std()),
    }
