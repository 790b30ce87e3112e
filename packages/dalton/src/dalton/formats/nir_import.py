"""A NIR graph that `to_nir` wrote, read back as a network that can be trained further; needs nir.

    input -> [encoder_scale (Conv2d) -> encoder (CubaLIF)] -> conv1 (Conv2d) -> conv1_neurons (CubaLIF) -> ... -> out

The graph has no pooling nodes: `to_nir` folds mean-pooling into the kernel before it. So a pooled convolution
comes back as one with a larger kernel and stride, which computes the same currents. The time-step follows from the
neurons, h = tau_mem / r, and the current filter from d = 1 - h / tau_syn. Readouts of the three-factor rule, dropout
and the surrogate derivative are not part of a graph; the defaults are used.
"""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reprokit import UserError
from reprokit.errors import library
from reprokit.files.reading import guarded
from reprokit.readers.hdf5 import open_hdf5

from dalton.model.architectures import Architecture, ConvSpec, LayerSpec
from dalton.model.network import SpikingCNN


def read_nir(path: str | Path, *, seed: int | None = 0, dtype: torch.dtype = torch.float32) -> SpikingCNN:
    """Read a NIR file that `write_nir` wrote; arguments as `from_nir`.

    Raises:
        UserError: nir is not installed, the file is damaged, or its graph is of another kind.
    """
    nir, path = library("nir", "reading NIR graphs needs nir", "nir"), Path(path)
    with guarded(path, "a NIR file"), open_hdf5(path):  # refuses heaps in which the library never ends
        graph = nir.read(io.BytesIO(path.read_bytes()))
    return from_nir(graph, str(path), seed=seed, dtype=dtype)


def from_nir(
    graph: Any, source: str = "the graph", *, seed: int | None = 0, dtype: torch.dtype = torch.float32
) -> SpikingCNN:
    """Return the network of a graph made by `to_nir`.

    Args:
        graph: A `nir.NIRGraph`.
        source: Its name in messages.
        seed: Seed of what the graph lacks, the readouts of the three-factor rule.
        dtype: torch.float32 or torch.float64.

    Returns:
        The network, its weights rounded to `dtype`. It takes images or counts; a graph without encoder gives a network
        with the default one.

    Raises:
        UserError: A graph of another kind; the message names the first node that does not fit.
    """
    reader = _Reader(graph, source)
    shape = reader.input_shape()
    gain, bias = reader.encoder(shape)
    convolutions, dense, weights, map_shape = [], [], {}, shape
    for name in reader.layers():
        node = reader.convolution(name)
        if name.startswith("conv"):
            side, stride = node.weight.shape[2], node.stride[0]
            if tuple(node.padding) != (0, 0):
                raise reader.other(name, "has padding, which dalton's convolutions lack")
            convolutions.append(ConvSpec(len(node.weight), side, stride))
            map_shape = (len(node.weight), *((size - side) // stride + 1 for size in map_shape[1:]))
            weights[name] = node.weight
        else:
            dense.append(len(node.weight))
            weights[name] = reader.uncovered(name, node, map_shape)
            map_shape = (len(node.weight), 1, 1)
        if min(map_shape) < 1:
            raise reader.other(name, f"has a kernel that is larger than its map of {map_shape[1:]}")
    step, decay, threshold = reader.neurons()
    out = reader.convolution("out")
    weights["out"] = reader.uncovered("out", out, map_shape)
    net = SpikingCNN(
        Architecture(tuple(convolutions), tuple(dense), name="nir"), shape, len(out.weight),
        tau_current=-step / math.log(decay) if decay > 0 else None, dt=step, gain=gain, bias=bias,
        threshold=threshold, seed=seed, dtype=dtype,
    )  # fmt: skip
    for layer in net.layers:
        reader.fits(layer, weights[layer.name])
    with torch.no_grad():
        for name, value in weights.items():
            weight = net.weight(name)
            weight.copy_(torch.from_numpy(np.array(value)).reshape(weight.shape))
    return net


class _Reader:
    """The nodes of a graph, checked when they are read."""

    def __init__(self, graph: Any, source: str) -> None:
        self.nodes = dict(getattr(graph, "nodes", {}))
        self.source = source
        following = dict(getattr(graph, "edges", []))
        self.chain = ["input"]
        while self.chain[-1] in following and len(self.chain) <= len(self.nodes):
            self.chain.append(following[self.chain[-1]])
        if self.chain[-1] != "output" or sorted(self.chain) != sorted(self.nodes):
            astray = next((name for name in self.nodes if name not in self.chain), self.chain[-1])
            raise self.other(astray, "is not in one chain from 'input' to 'output'")

    def other(self, name: str, why: str) -> UserError:
        return UserError(f"{self.source}: node {name!r} {why}; give a graph that dalton.to_nir made")

    def node(self, name: str, kind: str) -> Any:
        node = self.nodes.get(name)
        if type(node).__name__ != kind:
            found = "is missing" if node is None else f"is a {type(node).__name__}"
            raise self.other(name, f"{found}, where dalton's graphs have a {kind}")
        return node

    def input_shape(self) -> tuple[int, int, int]:
        shape = self.node("input", "Input").input_type["input"]
        if len(shape) != 3:
            raise self.other(
                "input", f"has shape {tuple(shape)}, where dalton's graphs have (channel, height, width)"
            )
        return int(shape[0]), int(shape[1]), int(shape[2])

    def encoder(self, shape: tuple[int, int, int]) -> tuple[float, float]:
        """Return the encoder's gain and bias."""
        if "encoder" not in self.nodes:
            return 2.0, 0.0
        scale = self.convolution("encoder_scale", biased=True)
        self.node("encoder", "CubaLIF")
        gain, bias = float(scale.weight.flat[0]), float(scale.bias[0])
        expected = gain * np.eye(shape[0])[:, :, None, None]
        if not np.array_equal(scale.weight, expected) or not np.all(scale.bias == bias):
            raise self.other("encoder_scale", "is not one factor and one number added to all channels")
        return gain, bias

    def layers(self) -> list[str]:
        """Return the names of the spiking layers, bottom first."""
        first = 3 if "encoder" in self.nodes else 1
        names, rest = self.chain[first:-2:2], self.chain[first + 1 : -2 : 2]
        for name, neurons in zip(names, rest, strict=False):
            if not name.startswith(("conv", "dense")) or neurons != f"{name}_neurons":
                raise self.other(name, "is not a layer of dalton's followed by its neurons")
        if len(names) != len(rest) or self.chain[-2] != "out" or not names:
            raise self.other(self.chain[-2], "does not end a chain of layers with their neurons")
        kinds = [name.startswith("dense") for name in names]
        if any(below and not above for below, above in pairwise(kinds)) or not (kinds[-1] and not kinds[0]):
            raise self.other(names[-1], "does not follow dalton's order, convolutions and then dense layers")
        return names

    def convolution(self, name: str, *, biased: bool = False) -> Any:
        node = self.node(name, "Conv2d")
        plain = tuple(node.dilation if np.ndim(node.dilation) else (node.dilation,) * 2) == (1, 1)
        stride = tuple(node.stride) if np.ndim(node.stride) else (node.stride,) * 2
        square = (
            node.weight.ndim == 4 and node.weight.shape[2] == node.weight.shape[3] and len(set(stride)) == 1
        )
        if not (plain and square and node.groups == 1) or (np.any(node.bias) and not biased):
            raise self.other(name, "is not a plain square convolution without bias")
        if not np.isfinite(node.weight).all():
            raise self.other(name, "has weights that are not finite")
        return node

    def uncovered(self, name: str, node: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return a dense layer's weights (unit, input) from the kernel that covers its map."""
        _, channels, side, _ = node.weight.shape
        if channels != shape[0] or side != max(shape[1:]):
            raise self.other(
                name, f"has a kernel {node.weight.shape}, which does not cover its input {shape}"
            )
        top, left = (side - shape[1] + 1) // 2, (side - shape[2] + 1) // 2
        inner = node.weight[:, :, top : top + shape[1], left : left + shape[2]]
        if np.count_nonzero(inner) != np.count_nonzero(node.weight):
            raise self.other(name, "has weights beyond its input")
        return inner.reshape(len(node.weight), -1)

    def neurons(self) -> tuple[float, float, float]:
        """Return time-step in s, filter factor d and threshold, which all spiking layers share."""
        found: tuple[float, float, float] | None = None
        for name in [f"{layer}_neurons" for layer in self.layers()]:
            node = self.node(name, "CubaLIF")
            values = [np.unique(np.asarray(value, float)) for value in (
                node.tau_syn, node.tau_mem, node.r, node.v_threshold, node.w_in, node.v_leak, node.v_reset
            )]  # fmt: skip
            if any(len(each) != 1 for each in values):
                raise self.other(name, "has neurons that differ from one another")
            tau_syn, tau_mem, r, threshold, w_in, leak, reset = (float(each[0]) for each in values)
            step = tau_mem / r if r > 0 else math.nan
            decay = 1 - step / tau_syn if tau_syn > 0 else math.nan
            if abs(decay) < 1e-12:
                decay = 0.0
            if not (0 <= decay < 1 and step > 0 and r >= 2**20 and leak == 0 and reset == 0):
                raise self.other(
                    name, "has neurons that are not dalton's: no leak, reset to 0, a filtered current"
                )
            if abs(w_in * (1 - decay) - 1) > 1e-9:
                raise self.other(name, "scales its current, which dalton's neurons do not")
            if found is not None and not np.allclose(found, (step, decay, threshold), rtol=1e-12, atol=0):
                raise self.other(name, "has other constants than the layers below")
            found = found or (step, decay, threshold)
        assert found is not None
        return found

    def fits(self, layer: LayerSpec, weight: np.ndarray) -> None:
        if weight.size != math.prod(layer.weight_shape):
            raise self.other(
                layer.name, f"has weights {weight.shape}, where its input needs {layer.weight_shape}"
            )
