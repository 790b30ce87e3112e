"""One interface to all engines: the compiled event-driven core, Triton on a GPU, and plain PyTorch elsewhere.

`present_independent` gives each sample its own copy of the start weights (feature phase);
`present_in_sequence` carries weights from presentation to presentation (initialisation phase).
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from reprokit import UserError
from reprokit.config import device_name

from nalsm.checks import numbers, whole
from nalsm.data.sources import Events, Rates
from nalsm.engines.compiled import compiled, kernel_available, kernel_source
from nalsm.engines.reference import Presentation, ReferenceLiquid, independent, sequence
from nalsm.engines.stream import Stream
from nalsm.model.network import LiquidNetwork
from nalsm.names import Engine
from nalsm.parameters import NeuronParameters, PlasticityParameters, kernel_options
from nalsm.rules.builtin import rule_of


class Simulator:
    """A network prepared for simulation; reuse it, because building the indices takes milliseconds.

    With engine auto, a CUDA device runs Triton (`nalsm.engines.gpu`) where samples are independent. Presentations in
    sequence and streams are one sample at a time, which cannot fill a GPU: these stay in the compiled engine, where it
    was built. Both engines give the same bits, up to ties (`nalsm.engines.agreement`).

    Args:
        network: the wiring.
        neuron: constants of its neurons.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto.
        device: cpu, an accelerator for engines triton and torch, or auto: the CPU if the compiled engine runs,
            otherwise the first GPU, if there is one.

    Raises:
        UserError: if the engine or the device does not exist.
    """

    def __init__(
        self,
        network: LiquidNetwork,
        neuron: NeuronParameters | None = None,
        *,
        engine: Engine = "auto",
        device: str = "cpu",
    ) -> None:
        if engine not in get_args(Engine):
            raise UserError(f"engine is {engine!r}; choose auto, events, triton or torch.")
        self.network, self.neuron = network, neuron or NeuronParameters()
        self.asked = engine
        self.device = _device(engine, device)
        self.engine = _choose(engine, self.device)
        self._prepare()

    def _prepare(self) -> None:
        """Build the indices of the engines that run."""
        beside = self.engine == "triton" and self._asked() == "auto" and kernel_available()
        self._core = compiled(self.network) if self.engine == "events" or beside else None
        self._gpu = _gpu_liquid(self.network, self.device) if self.engine == "triton" else None

    def _asked(self) -> Engine:
        return getattr(self, "asked", "auto")

    def __getstate__(self) -> dict[str, Any]:
        """Leave the engines' indices out of pickles and copies; they are built again from the network."""
        return self.__dict__ | {"_core": None, "_gpu": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the engines' indices, or fall back to PyTorch if the engine is missing here."""
        self.__dict__.update(state)
        self.engine = _choose("torch" if self.engine == "torch" else "auto", self.device)
        self._prepare()

    def present_independent(
        self,
        source: Rates | Events,
        weights: np.ndarray,
        plasticity: PlasticityParameters,
        *,
        duration: int = 250,
        trace: np.ndarray | None = None,
        record: bool = False,
        keep_weights: bool = False,
        threads: int = 1,
        batch: int = 250,
    ) -> Presentation:
        """Present samples independently, each from the same start weights, which do not change.

        Args:
            source: events of (sample,) presentations.
            weights: float32 (synapse,), active synapses in network order.
            plasticity: weight rule; `calcium` is for sequences only.
            duration: milliseconds.
            trace: float32 (sample, neuron) carried over; None starts at 0.
            record: keep the raster.
            keep_weights: keep each sample's weights at the end.
            threads: samples simulated at once; results do not depend on it.
            batch: the same for the torch engine, whose memory grows with samples times synapses; the triton engine
                presents as many as the device has room for.

        Raises:
            UserError: if sizes do not fit the network or the device, or the rule is `calcium`.
        """
        weights = self._check(source, weights, plasticity)
        if plasticity.rule == "calcium":
            raise UserError("rule 'calcium' works only in sequence; use present_in_sequence.")
        duration = whole("duration", duration, 1, unit=" ms")
        threads, batch = whole("threads", threads, 1), whole("batch", batch, 1)
        trace = self._state(trace, len(source))
        if self._plain(plasticity):
            liquid = ReferenceLiquid(self.network, self.neuron, plasticity, device=self.device)
            return _sound(
                independent(
                    liquid, source, weights, duration, trace, record=record, keep=keep_weights, batch=batch
                )
            )
        if self._gpu is not None:
            options = kernel_options(self.neuron, plasticity, duration)
            return _sound(
                self._gpu.independent(options, source, weights, trace, record=record, keep=keep_weights)
            )
        assert self._core is not None
        kept = np.empty((len(source), len(weights)), np.float32) if keep_weights else None
        options = kernel_options(self.neuron, plasticity, duration)
        result = self._core.independent(
            options, kernel_source(source, duration), len(source), weights, trace, record, threads, kept
        )
        raster = result["raster"] if record else None
        if keep_weights and plasticity.rule == "none":
            kept = np.repeat(weights[None], len(source), 0)
        return _sound(
            Presentation(result["counts"], raster, result["astrocyte"], kept, trace, np.zeros_like(trace))
        )

    def present_in_sequence(
        self,
        source: Rates | Events,
        weights: np.ndarray,
        plasticity: PlasticityParameters,
        *,
        duration: int = 20,
        trace: np.ndarray | None = None,
        calcium: np.ndarray | None = None,
        carry_trace: bool = False,
        record: bool = False,
    ) -> Presentation:
        """Present samples one after another; weights and calcium carry over.

        Potentials and learning rates are reset for each presentation.

        Args:
            source: events of (sample,) presentations, in this order.
            weights: float32 (synapse,) at the start.
            plasticity: weight rule.
            duration: milliseconds of each presentation.
            trace: float32 (neuron,) carried over from an earlier call; None starts at 0.
            calcium: the same for calcium, rule `calcium` only.
            carry_trace: keep the STDP trace between presentations, as the original does.
            record: keep the raster.

        Raises:
            UserError: if sizes do not fit the network.
        """
        weights = self._check(source, weights, plasticity).copy()
        duration = whole("duration", duration, 1, unit=" ms")
        trace = self._state(trace, None)
        calcium = self._state(calcium, None)
        if self._plain(plasticity):
            liquid = ReferenceLiquid(self.network, self.neuron, plasticity, device=self.device)
            return _sound(
                sequence(
                    liquid, source, weights, duration, trace, calcium, carry_trace=carry_trace, record=record
                )
            )
        options = kernel_options(self.neuron, plasticity, duration)
        if self._core is None:
            assert self._gpu is not None
            return _sound(
                self._gpu.sequence(
                    options, source, weights, trace, calcium, carry_trace=carry_trace, record=record
                )
            )
        result = self._core.sequence(
            options,
            kernel_source(source, duration),
            len(source),
            weights,
            trace,
            calcium,
            carry_trace,
            record,
        )
        raster = result["raster"] if record else None
        return _sound(Presentation(result["counts"], raster, result["astrocyte"], weights, trace, calcium))

    def start(
        self,
        weights: np.ndarray,
        plasticity: PlasticityParameters | None = None,
        *,
        trace: np.ndarray | None = None,
        calcium: np.ndarray | None = None,
    ) -> Stream:
        """Return a liquid that keeps running from call to call, for endless input.

        Args:
            weights: float32 (synapse,) at the start.
            plasticity: weight rule; None: no plasticity. Its rates decay by `rate_decay` (1 by default) and are never
                reset.
            trace: float32 (neuron,) carried over from an earlier presentation; None starts at 0.
            calcium: the same for calcium, rule `calcium` only.

        Raises:
            UserError: if sizes do not fit the network, or engine triton was requested, which has no streams.
        """
        if self._asked() == "triton":
            raise UserError(
                "engine 'triton' cannot run one endless sample; choose engine auto, events or torch."
            )
        rule = plasticity or PlasticityParameters()
        core = None if self._plain(rule) else self._core
        reference = ReferenceLiquid(
            self.network, self.neuron, rule, device=self.device if core is None else "cpu"
        )
        first = self._weights(weights, rule)
        return Stream(core, reference, first, self._state(trace, None), self._state(calcium, None))

    def _plain(self, plasticity: PlasticityParameters) -> bool:
        """Return whether plain PyTorch computes the rule.

        Raises:
            UserError: if an engine was requested that cannot run a user's own rule.
        """
        if self.engine == "torch" or not plasticity.own:
            return self.engine == "torch"
        name = rule_of(plasticity).name
        if self._asked() != "auto":
            raise UserError(
                f"engine {self._asked()!r} cannot run your own rule {name!r}; choose engine torch or auto."
            )
        _warn_of_own(name)
        return True

    def _check(
        self, source: Rates | Events, weights: np.ndarray, plasticity: PlasticityParameters
    ) -> np.ndarray:
        if not isinstance(source, Rates | Events):
            raise UserError(f"source is a {type(source).__name__}; give Rates or Events.")
        if source.inputs != self.network.inputs:
            raise UserError(
                f"the network has {self.network.inputs} input neurons and the data {source.inputs} channels; "
                "generate a network for this data set."
            )
        return self._weights(weights, plasticity)

    def _weights(self, weights: np.ndarray, plasticity: PlasticityParameters) -> np.ndarray:
        """Return start weights within the bounds of the rule."""
        weights = np.ascontiguousarray(numbers("weights", weights, 1), np.float32)
        synapses = int(self.network.active.sum())
        if weights.shape != (synapses,):
            raise UserError(f"weights have shape {weights.shape}; this network has {synapses} synapses.")
        if not np.isfinite(weights).all():
            raise UserError("weights hold values that are not finite.")
        if plasticity.rule == "none":
            return weights
        pre, limit = self.network.pre[self.network.active], np.float32(plasticity.weight_limit)
        inhibitory = (pre >= self.network.excitatory) & (pre < self.network.liquid)
        low = np.where(pre < self.network.excitatory, np.float32(0.0), -limit)
        return np.clip(weights, low, np.where(inhibitory, np.float32(0.0), limit))

    def _state(self, values: np.ndarray | None, samples: int | None) -> np.ndarray:
        shape = (self.network.neurons,) if samples is None else (samples, self.network.neurons)
        if values is None:
            return np.zeros(shape, np.float32)
        values = numbers("carried state", values, len(shape))
        if values.shape != shape:
            raise UserError(f"carried state has shape {values.shape}; expected {shape}.")
        if not np.isfinite(values).all():
            raise UserError("carried state holds values that are not finite.")
        return np.array(values, np.float32, order="C")


def _sound(shown: Presentation) -> Presentation:
    """Return a presentation after checking that its numbers are finite.

    Raises:
        UserError: if the learning rates or the weights are no longer finite.
    """
    bad = np.flatnonzero(~np.isfinite(shown.depression).all(axis=1))
    if len(bad) or (shown.weights is not None and not np.isfinite(shown.weights).all()):
        where = f"presentation {bad[0]}" if len(bad) else "the end"
        raise UserError(
            f"learning rates or weights are not finite at {where} of {len(shown.counts)}; lower rate or "
            "astrocyte_weight."
        )
    return shown


@cache
def _warn_once() -> None:
    warnings.warn(
        "the compiled liquid engine is missing (no C++ compiler at installation?): plain PyTorch runs instead, "
        "about 30 times slower; reinstall the package with g++ or clang++ present.",
        RuntimeWarning,
        stacklevel=4,
    )


@cache
def _warn_of_device(device: str) -> None:
    warnings.warn(
        f"the compiled liquid engine does not run on device {device!r}: plain PyTorch runs there; engine torch "
        "silences "
        "this warning.",
        RuntimeWarning,
        stacklevel=4,
    )


@cache
def _warn_of_triton(device: str) -> None:
    warnings.warn(
        f"device {device!r} has no Triton or is not an NVIDIA GPU, as the engine for GPUs needs: plain PyTorch runs "
        "there, much slower; install brainrules-nalsm[gpu], or engine torch silences this warning.",
        RuntimeWarning,
        stacklevel=4,
    )


@cache
def _warn_of_own(name: str) -> None:
    warnings.warn(
        f"rule {name!r} is your own: plain PyTorch runs instead of the compiled engine, about 30 times slower; engine "
        "torch silences this warning.",
        RuntimeWarning,
        stacklevel=5,
    )


def _device(engine: Engine, device: str) -> str:
    """Return the device; "auto" is the CPU if the compiled engine runs, otherwise the first GPU if there is one."""
    if device == "auto" and engine not in ("torch", "triton") and kernel_available():
        return "cpu"
    return (
        device_name(device, torch.cuda.device_count()) if device == "auto" or device.isdecimal() else device
    )


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    # torch raises these for a device that is unknown, absent, missing from its build, or without kernels
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"device {device!r} cannot be used ({reason}); choose cpu or an existing device."
        ) from error


def _kernels_run(device: str) -> bool:
    """Return whether Triton's kernels run on a device; Triton is imported for nothing else."""
    kind = torch.device(device).type
    if kind != "cuda" and not (kind == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return False
    from nalsm.engines import gpu

    return gpu.available(torch.device(device))


def _gpu_liquid(network: LiquidNetwork, device: str) -> Any:
    from nalsm.engines.gpu import GpuLiquid

    return GpuLiquid(network, torch.device(device))


def _choose(engine: Engine, device: str) -> Literal["events", "triton", "torch"]:
    if device != "cpu":
        _check_device(device)
        if engine == "events":
            raise UserError(
                f"engine 'events' runs on the CPU; device is {device!r}, choose engine triton or torch."
            )
    if engine == "torch":
        return "torch"
    if engine == "triton" or device != "cpu":
        if _kernels_run(device):
            return "triton"
        if engine == "triton":
            raise UserError(
                f"engine 'triton' needs an NVIDIA GPU and Triton (brainrules-nalsm[gpu]); device is {device!r}, choose "
                "device cuda, or engine auto."
            )
        (_warn_of_triton if torch.device(device).type == "cuda" else _warn_of_device)(device)
        return "torch"
    if kernel_available():
        return "events"
    if engine == "events":
        raise UserError(
            "engine 'events' was not built; reinstall with g++ or clang++ present, or choose torch."
        )
    _warn_once()
    return "torch"
