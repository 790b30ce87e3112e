"""The liquid on a GPU, in Triton: all samples at once, each by its own program, with the bits of the compiled core.

Why event driven. A millisecond has some 50 spikes, and a spike reaches 17 neurons of a liquid of 1000, or 150 if
it comes from an input. A matrix product over all neurons costs about 40 times the additions, and adds in another
order. So a program walks the spikes of its own sample:

1. Neurons, `BLOCK` at a time: who fires; their numbers go into a list in ascending order (a prefix sum), in memory.
2. Neurons again: for each spike of the list one row of a table (neuron, liquid), shared by all samples and read
   in one piece. For fixed liquids it holds weights; for plastic ones it holds where in the sample's own weights the
   synapse is, whose weight is used and weakened.
3. Plastic liquids only, `ROWS` fired neurons at a time: the synapses that lead to them, eight lanes a neuron.

Each presentation is one launch for all samples that memory has room for; programs never wait for one another, and
three barriers within a program separate the parts of a millisecond. Random events are drawn on the device, from the
same counters as on the CPU.

What is equal: spikes, counts, weights, traces, calcium and rates have the bits of the compiled core, as every sum is
taken in the core's order. Two things may break that, and `nalsm.engines.agreement` counts them: a logarithm of
the device's library that rounds an event into the next millisecond (about once in 1e13 events), and a compiler that
contracts products and sums although it is told not to, which flips spikes whose potential is within rounding of the
threshold.

Memory: the table takes 4 bytes (fixed) or 2 bytes (plastic) per pair of a neuron and a neuron of the liquid, 7 or
4 MB for 1000 neurons and 784 inputs; a sample takes `sample_bytes`, about 0.2 MB fixed and 1.3 MB plastic, and 0.4
MB more where the raster is recorded.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor

from nalsm.data.sources import Events, Rates
from nalsm.engines.reference import Presentation, join
from nalsm.model.network import LiquidNetwork
from nalsm.parameters import RULES

try:
    from nalsm.engines import triton_kernels as kernels
except ImportError:
    kernels: Any = None

BLOCK = 1024  # neurons at a time
ROWS = 32  # fired neurons at a time
SHARE = 0.6  # of the free memory that samples may take
CONSTANTS = (
    "threshold", "leak", "synapse_decay", "synapse_gain", "input_current", "refractory", "potentiation", "depression",
    "trace_increment", "trace_decay", "weight_limit", "rate_decay", "astrocyte_weight", "astrocyte_bias",
    "astrocyte_tau", "calcium_tau", "calcium_threshold", "calcium_range",
)  # fmt: skip


def available(device: torch.device) -> bool:
    """Return whether the kernels run on a device: an NVIDIA GPU and Triton present, or the CPU under its interpreter.

    AMD GPUs, which PyTorch calls cuda too, are left out: a barrier orders a program's writes to memory by the
    definition of NVIDIA's instruction, and nobody has tested it there.
    """
    if kernels is None:
        return False
    return torch.version.hip is None and not interpreted() if device.type == "cuda" else interpreted()


def interpreted() -> bool:
    """Return whether Triton's interpreter runs the kernels, on the CPU (`TRITON_INTERPRET=1` at import)."""
    return kernels is not None and type(kernels.present).__name__ == "InterpretedFunction"


class GpuLiquid:
    """A network on a device.

    Args:
        network: the wiring.
        device: a CUDA device; the CPU under Triton's interpreter.
        block: neurons at a time, a power of two; None: `BLOCK`, or less for small networks.
        rows: fired neurons at a time, a power of two.
    """

    def __init__(
        self, network: LiquidNetwork, device: torch.device, *, block: int | None = None, rows: int = ROWS
    ) -> None:
        self.network, self.device, self.rows = network, device, rows
        self.block = block or min(BLOCK, _power_of_two(max(network.liquid, network.inputs, 16)))
        self.width = -(-network.liquid // self.block) * self.block
        post, pre = network.post[network.active], network.pre[network.active]
        self.synapses = len(pre)
        bounds = np.arange(network.liquid + 1)
        row = np.searchsorted(post, bounds)
        kind = (pre >= network.excitatory).astype(np.int64) + (pre >= network.liquid)
        place = post.astype(np.int64) * 3 + kind  # ascending: synapses are sorted by (post, pre)
        self._post, self._pre = (torch.as_tensor(a.astype(np.int64), device=device) for a in (post, pre))
        self._row, self._inhibitory, self._input, self._from = (
            torch.as_tensor(a.astype(np.int32), device=device)
            for a in (
                row,
                np.searchsorted(place, bounds[:-1] * 3 + 1),
                np.searchsorted(place, bounds[:-1] * 3 + 2),
                pre,
            )
        )
        most = int(np.diff(row).max(initial=0))
        self._kind = torch.int16 if most <= np.iinfo(np.int16).max else torch.int32
        self._places: Tensor | None = None

    def independent(
        self,
        options: dict[str, float],
        source: Rates | Events,
        weights: np.ndarray,
        trace: np.ndarray,
        *,
        record: bool,
        keep: bool,
    ) -> Presentation:
        """Present samples side by side, as many as memory has room for; see `Simulator.present_independent`.

        Args:
            options: constants, see `nalsm.parameters.kernel_options`.
            source: events of (sample,) presentations.
            weights: float32 (synapse,).
            trace: float32 (sample, neuron), changed in place by plastic rules.
            record: keep the raster.
            keep: keep each sample's weights at the end.

        Raises:
            UserError: if the device has no room for one sample.
        """
        duration, plastic = int(options["duration"]), options["plasticity"] != RULES.index("none")
        parts, begin = [], 0
        with self._here():
            table = self._table(weights, plastic)
            while begin < max(len(source), 1):
                count = self._at_once(duration, plastic, record, len(source) - begin)
                shown = source[begin : begin + count]
                events, most = self._events(shown, duration)
                own = torch.as_tensor(weights, device=self.device).repeat(count if plastic else 1, 1)
                x = torch.as_tensor(trace[begin : begin + count], device=self.device).contiguous().clone()
                part = self._show(
                    options, table, own, x, torch.zeros_like(x[:, :1]), events[:, None], most, listed=plastic,
                    carry=True, record=record,
                )  # fmt: skip
                if plastic:
                    trace[begin : begin + count] = x.cpu().numpy()
                part.trace = trace[begin : begin + count]
                part.calcium = np.zeros_like(part.trace)
                if keep:
                    part.weights = own.cpu().numpy() if plastic else np.repeat(weights[None], count, 0)
                parts.append(part)
                begin += max(count, 1)
        return join(parts)

    def sequence(
        self,
        options: dict[str, float],
        source: Rates | Events,
        weights: np.ndarray,
        trace: np.ndarray,
        calcium: np.ndarray,
        *,
        carry_trace: bool,
        record: bool,
    ) -> Presentation:
        """Present samples one after another, by one program; see `Simulator.present_in_sequence`.

        Args:
            options: constants, see `nalsm.parameters.kernel_options`.
            source: events of (sample,) presentations.
            weights: float32 (synapse,) at the start.
            trace: float32 (neuron,) at the start.
            calcium: float32 (neuron,) at the start.
            carry_trace: keep the trace between presentations.
            record: keep the raster.

        Raises:
            UserError: if the device has no room for one sample.
        """
        duration, plastic = int(options["duration"]), options["plasticity"] != RULES.index("none")
        parts, begin = [], 0
        with self._here():
            table = self._table(weights, plastic)
            own, x, c = (
                torch.tensor(array, device=self.device)[None].contiguous()
                for array in (weights, trace, calcium)
            )
            while begin < max(len(source), 1):
                count = self._at_once(duration, False, record, len(source) - begin)
                events, most = self._events(source[begin : begin + count], duration)
                parts.append(
                    self._show(options, table, own, x, c, events[None], most, listed=False, carry=carry_trace,
                               record=record)
                )  # fmt: skip
                begin += max(count, 1)
            shown = join(parts)
            shown.weights, shown.trace, shown.calcium = (a[0].cpu().numpy() for a in (own, x, c))
        return shown

    def sample_bytes(self, duration: int, plastic: bool, record: bool = False) -> int:
        """Return the memory that a sample takes on the device: state, events, weights and raster."""
        neurons, liquid = self.network.neurons, self.network.liquid
        state = 4 * (3 * neurons + 2 * liquid) + 8 * neurons + 8 * neurons + 4 * liquid + 4 * duration
        events = duration * self.network.inputs * 5  # counts of 1 byte, and of 4 on the way
        own = 8 * self.synapses + 4 * liquid + self.network.inputs if plastic else 0
        return state + events + own + (duration * neurons if record else 0)

    def _here(self) -> AbstractContextManager[Any]:
        """Make the device the current one, to which Triton launches."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _at_once(self, duration: int, plastic: bool, record: bool, left: int) -> int:
        """Return how many samples are presented at once."""
        if self.device.type != "cuda":
            return left
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        need = self.sample_bytes(duration, plastic, record)
        if left > 0 and need > free:
            raise UserError(
                f"a sample of {duration} ms needs {need / 2**20:.0f} MiB on device {str(self.device)!r}, which has "
                f"{free / 2**20:.0f} MiB free; choose a smaller liquid, a shorter duration or the CPU."
            )
        return min(left, max(int(SHARE * free / need), 1))

    def _table(self, weights: np.ndarray, plastic: bool) -> Tensor:
        """Return the table (neuron, width): weights of a fixed liquid, places of synapses in rows of a plastic one."""
        shape = (self.network.neurons, self.width)
        if not plastic:
            table = torch.zeros(shape, device=self.device)
            return table.index_put_((self._pre, self._post), torch.as_tensor(weights, device=self.device))
        if self._places is None:
            place = torch.arange(self.synapses, device=self.device) - self._row[self._post]
            table = torch.full(shape, -1, dtype=self._kind, device=self.device)
            self._places = table.index_put_((self._pre, self._post), place.to(self._kind))
        return self._places

    def _events(self, source: Rates | Events, duration: int) -> tuple[Tensor, int]:
        """Return whole numbers of events (sample, duration, input) and the largest of them."""
        inputs, samples = self.network.inputs, len(source)
        if isinstance(source, Rates):
            events = torch.zeros((samples, duration, inputs), dtype=torch.uint8, device=self.device)
            if samples:
                channels = min(self.block, 128)
                kernels.draw[(samples, -(-inputs // channels))](
                    self._on_device(_scale(source.probability)),
                    self._on_device(source.sample.astype(np.int64)),
                    self._on_device(_round_keys(source.seed)),
                    events, inputs, duration, channels, num_warps=max(channels // 64, 1), enable_fp_fusion=False,
                )  # fmt: skip
            return events, 1
        first = source.events(duration).first
        held = np.diff(first, axis=1)
        begin = np.cumsum(held.ravel()) - held.ravel()
        taken = np.arange(int(held.sum())) + np.repeat(first[:, :-1].ravel() - begin, held.ravel())
        cell = np.repeat(np.arange(held.size), held.ravel()) * inputs + source.channels[taken]
        events = torch.zeros(held.size * inputs, dtype=torch.int32, device=self.device)
        cell = self._on_device(cell)
        events.scatter_add_(0, cell, torch.ones_like(cell, dtype=torch.int32))
        most = int(events.max()) if len(events) else 0
        events = events.view(samples, duration, inputs)
        return (events.to(torch.uint8) if most < 256 else events), most

    def _show(
        self,
        options: dict[str, float],
        table: Tensor,
        weights: Tensor,
        trace: Tensor,
        calcium: Tensor,
        events: Tensor,
        most: int,
        *,
        listed: bool,
        carry: bool,
        record: bool,
    ) -> Presentation:
        """Present events (program, presentation, duration, input); weights, trace and calcium are changed in place."""
        programs, presentations, duration = events.shape[:3]
        network, rule = self.network, RULES[int(options["plasticity"])]
        neurons, liquid = network.neurons, network.liquid
        whole = {"dtype": torch.int32, "device": self.device}
        shown = programs * presentations
        counts = torch.zeros((shown, liquid), **whole)
        raster = torch.zeros(
            (shown, duration, neurons) if record else (1,), dtype=torch.uint8, device=self.device
        )
        rates = torch.zeros((shown, duration), device=self.device)
        if not shown:
            return Presentation(counts.cpu().numpy(), raster.cpu().numpy() if record else None, rates.cpu().numpy(),
                                None, trace.cpu().numpy(), calcium.cpu().numpy())  # fmt: skip
        places, held = self._listed(events, trace) if listed else (counts, counts)
        constants = np.array([options[name] for name in CONSTANTS], np.float32)
        kernels.present[(programs,)](
            self._row, self._inhibitory, self._input, self._from, table, weights, places, held,
            torch.empty((programs, 3 * neurons + 2 * liquid), device=self.device), trace, calcium,
            torch.empty((programs, neurons), **whole), torch.empty((programs, neurons), device=self.device),
            events, counts, raster, rates, self._on_device(constants),
            network.excitatory, liquid, neurons, self.synapses, duration, presentations, most,
            width=self.width, plastic=rule != "none", astrocyte=rule == "astrocyte", gated=rule == "calcium",
            listed=listed, carry=carry, record=record, block=self.block, rows=self.rows,
            num_warps=max(min(self.block // 256, 4), 1), enable_fp_fusion=False,
        )  # fmt: skip
        return Presentation(
            counts=counts.cpu().numpy(),
            raster=raster.cpu().numpy() if record else None,
            depression=rates.cpu().numpy(),
            weights=None,
            trace=trace.cpu().numpy(),
            calcium=calcium.cpu().numpy(),
        )

    def _listed(self, events: Tensor, trace: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input synapses of each sample whose channels have events or a carried trace."""
        network, programs = self.network, len(events)
        carried = trace[:, network.liquid :] != 0
        used = ((events[:, 0].amax(1) > 0) | carried).to(torch.uint8).contiguous()
        whole = {"dtype": torch.int32, "device": self.device}
        places = torch.empty((programs, self.synapses), **whole)
        held = torch.empty((programs, network.liquid), **whole)
        kernels.list_used[(programs, -(-network.liquid // self.rows))](
            self._row, self._input, self._from, used, places, held, network.liquid, network.inputs, self.synapses,
            self.rows, 64,
        )  # fmt: skip
        return places, held

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _scale(probability: np.ndarray) -> np.ndarray:
    """Return 1 / ln(1 - p), 0 at p = 1, and 1 at p = 0, where no event comes."""
    p = np.asarray(probability, np.float64)
    with np.errstate(divide="ignore"):
        scale = 1.0 / np.log1p(-np.minimum(p, 1.0 - 1e-300))
    return np.where(p >= 1.0, 0.0, np.where(p > 0.0, scale, 1.0))


def _round_keys(seed: int) -> np.ndarray:
    """Return the keys of the ten rounds of Philox, int64 (10, 2)."""
    turn, mask = range(10), 0xFFFFFFFF
    low, high = seed & mask, (seed >> 32) & mask
    return np.array([((low + 0x9E3779B9 * k) & mask, (high + 0xBB67AE85 * k) & mask) for k in turn], np.int64)
