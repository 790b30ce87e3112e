"""The Triton kernels in Triton's interpreter, on the CPU, give the bits of the compiled engine; and who runs them."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nalsm import NeuronParameters, PlasticityParameters, ReferenceLiquid, Simulator, kernel_available
from nalsm.engines import simulator
from nalsm.engines.agreement import Agreement, agreement
from nalsm.engines.gpu import GpuLiquid
from nalsm_small import small_network, small_rates
from reprokit import UserError
from triplet_stdp import TripletStdp

NETWORK = small_network()
FIXED = PlasticityParameters()


def counted() -> list[str]:
    """Count the lines that a child runs where those of this process are counted."""
    coverage = sys.modules.get("coverage")
    running = coverage.Coverage.current() if coverage is not None else None
    if running is None:
        return []
    at = running.config
    return [
        "-m", "coverage", "run", "--parallel-mode", f"--data-file={at.data_file}", f"--source={','.join(at.source)}"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def interpreted() -> dict[str, dict]:
    pytest.importorskip("triton", reason="needs Triton: pip install 'brainrules-nalsm[gpu]'")
    if not kernel_available():
        pytest.skip("compares with the compiled engine, which was not built")
    script = Path(__file__).with_name("interpreted_kernels.py")
    done = subprocess.run([sys.executable, *counted(), str(script)], capture_output=True, text=True)
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("Triton's interpreter does not know this NumPy: upgrade triton to 3.7 or newer")
    assert done.returncode == 0, done.stderr
    return {line["case"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", ["none", "astrocyte", "calcium", "stdp", "state", "run", "used", "draw"])
def test_interpreted_kernels_have_the_bits_of_the_compiled_engine(interpreted, case) -> None:
    assert interpreted[case]["differ"] == interpreted[case]["kinds"] == []
    assert interpreted[case]["spikes"] > 3


def test_no_sample_gives_empty_results(interpreted) -> None:
    assert interpreted["nothing"]["differ"] == interpreted["nothing"]["kinds"] == []


@pytest.mark.slow
@pytest.mark.parametrize("plastic", [False, True], ids=["fixed", "plastic"])
def test_kernels_compile_for_an_h100_without_contractions(tmp_path, monkeypatch, plastic: bool) -> None:
    """The interpreter does not check types, and rounding is the core's only without fused multiply-adds."""
    pytest.importorskip("triton", reason="needs Triton: pip install 'brainrules-nalsm[gpu]'")
    import triton
    from nalsm.engines import triton_kernels
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = triton_kernels.present
    if not hasattr(kernel, "params"):
        pytest.skip("Triton's interpreter was chosen for this process")
    fixed = {"width": 1024, "block": 1024, "rows": 32, "carry": True, "record": True, "gated": False}
    fixed |= dict.fromkeys(("plastic", "astrocyte", "listed"), plastic)
    kinds = dict.fromkeys(kernel.arg_names, "*i32") | dict.fromkeys(fixed, "constexpr")
    kinds |= dict.fromkeys(("weights", "state", "trace", "calcium", "jumps", "rates", "constants"), "*fp32")
    kinds |= {"events": "*u8", "raster": "*u8", "table": "*i16" if plastic else "*fp32"}
    sizes = ("excitatory", "liquid", "neurons", "synapses", "duration", "presentations", "most")
    source = ASTSource(fn=kernel, signature=kinds | dict.fromkeys(sizes, "i32"), constexprs=fixed)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
    assert len(made.asm["cubin"]) > 1000
    assert "fma.rn.f32" not in made.asm["ptx"]


def test_as_many_samples_at_once_as_memory_has_room_for(monkeypatch) -> None:
    liquid = GpuLiquid(NETWORK, torch.device("cpu"))
    need = liquid.sample_bytes(250, plastic=True)
    assert need > liquid.sample_bytes(250, plastic=False) > 250 * NETWORK.inputs
    liquid.device, free = torch.device("cuda"), {"bytes": 100 * need}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"] - 1000, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2000)
    assert [liquid._at_once(250, True, False, left) for left in (1000, 5, 0)] == [60, 5, 0]
    assert liquid._at_once(250, False, False, 1000) > 60
    free["bytes"] = need - 1
    with pytest.raises(
        UserError, match=r"a sample of 250 ms needs \d+ MiB on device 'cuda', which has \d+ MiB free"
    ):
        liquid._at_once(250, True, False, 1)


def test_nothing_is_apart_where_nothing_differs() -> None:
    source, weights = small_rates(3), NETWORK.start_weights(2.0)
    shown = Simulator(NETWORK).present_independent(source, weights, FIXED, duration=20, record=True)
    found = agreement(shown, shown, NETWORK, source, weights, FIXED)
    assert found == Agreement(3, int(shown.raster.sum()), 0, 0, 0, 0)
    assert str(found).endswith("0 samples differ, 0 by ties, 0 by drawn events, 0 unexplained")


def first_spike(source, weights, neuron: NeuronParameters) -> tuple[int, int, float]:
    """Return millisecond and neuron of the first spike of the liquid in sample 0, and the potential there."""
    liquid = ReferenceLiquid(NETWORK, neuron, FIXED, dtype=torch.float64)
    state = liquid.start(torch.as_tensor(weights), 1)
    events = source[:1].events(30)
    for t in range(30):
        potential = state.potential.clone()
        fires = liquid.step(state, torch.as_tensor(events.at(t), dtype=torch.float64))[0, : NETWORK.liquid]
        if fires.any():
            chosen = int(torch.where(fires > 0, potential[0, : NETWORK.liquid], -1.0).argmax())
            return t, chosen, float(potential[0, chosen])
    raise AssertionError("no spike")


@pytest.mark.parametrize(("share", "kind"), [(1 - 1e-6, "ties"), (0.99, "unexplained")])
def test_a_spike_at_the_threshold_is_a_tie_and_any_other_is_not(share, kind) -> None:
    source, weights = small_rates(2), NETWORK.start_weights(2.0)
    neuron = NeuronParameters(threshold=first_spike(source, weights, NeuronParameters())[2] * share)
    t, chosen, _ = first_spike(source, weights, neuron)
    shown = Simulator(NETWORK, neuron).present_independent(source, weights, FIXED, duration=30, record=True)
    other = copy.deepcopy(shown)
    other.raster[0, t, chosen] -= 1
    found = agreement(other, shown, NETWORK, source, weights, FIXED, neuron=neuron)
    assert found == Agreement(
        2, int(shown.raster.sum()), 1, **dict.fromkeys(("ties", "draws", "unexplained"), 0) | {kind: 1}
    )


def test_a_spike_of_an_input_that_differs_is_a_draw() -> None:
    source, weights = small_rates(2), NETWORK.start_weights(2.0)
    learns, trace = PlasticityParameters(rule="stdp"), np.full((2, NETWORK.neurons), 0.1, np.float32)
    options = {"duration": 12, "record": True, "trace": trace}
    shown = Simulator(NETWORK).present_independent(source, weights, learns, **options)
    other = copy.deepcopy(shown)
    other.raster[1, 3, NETWORK.liquid + 1] ^= 1
    found = agreement(other, shown, NETWORK, source, weights, learns, trace=trace)
    assert (found.apart, found.draws) == (1, 1)


def test_rasters_that_cannot_be_compared_are_refused() -> None:
    source, weights = small_rates(2), NETWORK.start_weights(2.0)
    a, b = (
        Simulator(NETWORK).present_independent(source, weights, FIXED, duration=t, record=True)
        for t in (5, 6)
    )
    with pytest.raises(UserError, match=r"shapes \(2, 5, 104\) and \(2, 6, 104\), and source has 2 samples"):
        agreement(a, b, NETWORK, source, weights, FIXED)
    b.raster = None
    with pytest.raises(UserError, match=r"no raster; present with record=True\."):
        agreement(a, b, NETWORK, source, weights, FIXED)


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU; return whether Triton runs there, to be changed, and the engine's stand-in."""
    there = {"triton": True}

    class Stand:
        def __init__(self, network, device) -> None:
            self.called = []

        def independent(self, options, source, weights, trace, *, record, keep):
            self.called.append((options["duration"], record, keep))
            return Simulator(NETWORK).present_independent(
                source, weights, FIXED, duration=options["duration"]
            )

        def sequence(self, options, source, weights, trace, calcium, *, carry_trace, record):
            self.called.append((options["duration"], carry_trace, record))
            return Simulator(NETWORK).present_in_sequence(
                source, weights, FIXED, duration=options["duration"]
            )

    monkeypatch.setattr(simulator, "_check_device", lambda device: None)
    monkeypatch.setattr(simulator, "_kernels_run", lambda device: there["triton"])
    monkeypatch.setattr(simulator, "_gpu_liquid", Stand)
    return there


def test_a_gpu_runs_triton_and_single_samples_stay_in_the_compiled_engine(gpu) -> None:
    if not kernel_available():
        pytest.skip("the compiled engine was not built")
    ours, source, weights = Simulator(NETWORK, device="cuda"), small_rates(2), NETWORK.start_weights(2.0)
    assert ours.engine == "triton"
    ours.present_independent(source, weights, FIXED, duration=3, keep_weights=True)
    assert ours._gpu.called == [(3, False, True)]
    rule = PlasticityParameters(rule="calcium")
    found, wanted = (
        s.present_in_sequence(source, weights, rule, duration=9) for s in (ours, Simulator(NETWORK))
    )
    assert np.array_equal(found.weights, wanted.weights)
    assert ours.start(weights).run(np.ones((9, NETWORK.inputs), int)).counts.dtype == np.int32
    assert len(ours._gpu.called) == 1
    again = pickle.loads(pickle.dumps(ours))
    assert again.engine == "triton"
    assert again._gpu.called == []
    asked = Simulator(NETWORK, engine="triton", device="cuda")
    asked.present_in_sequence(source, weights, FIXED, duration=9, carry_trace=True)
    assert asked._gpu.called == [(9, True, False)]
    with pytest.raises(UserError, match="engine 'triton' cannot run one endless sample; choose engine auto"):
        asked.start(weights)


def test_a_rule_of_ones_own_runs_in_pytorch_on_a_gpu_too(gpu) -> None:
    own = PlasticityParameters(rule=TripletStdp(PlasticityParameters()))
    asked = Simulator(NETWORK, engine="triton", device="cuda")
    with pytest.raises(
        UserError, match="engine 'triton' cannot run your own rule 'triplet-stdp'; choose engine torch"
    ):
        asked.present_independent(small_rates(1), NETWORK.start_weights(1.0), own)
    simulator._warn_of_own.cache_clear()
    with pytest.warns(RuntimeWarning, match="'triplet-stdp' is your own: plain PyTorch runs"):
        assert Simulator(NETWORK, device="cuda")._plain(own)


def test_a_gpu_without_triton_takes_plain_pytorch_and_says_so_once(gpu) -> None:
    gpu["triton"] = False
    simulator._warn_of_triton.cache_clear()
    with pytest.warns(
        RuntimeWarning, match="plain PyTorch runs there, much slower; install brainrules-nalsm"
    ) as said:
        engines = [Simulator(NETWORK, device="cuda").engine for _ in range(2)]
    assert (engines, len(said)) == (["torch", "torch"], 1)
    with pytest.raises(
        UserError, match=r"engine 'triton' needs an NVIDIA GPU and Triton .* device is 'cuda'"
    ):
        Simulator(NETWORK, engine="triton", device="cuda")


def test_triton_on_the_cpu_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        UserError, match=r"engine 'triton' needs an NVIDIA GPU and Triton .* device is 'cpu', choose device"
    ):
        Simulator(NETWORK, engine="triton")
