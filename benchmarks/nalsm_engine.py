"""NALSM: the compiled event-driven engine against our PyTorch reference and against Brian 2, and a network of 8000.

Cases: MNIST samples of 250 ms on a liquid of 1000 neurons, `plastic` from weights that a NALSM initialisation phase
reached, `static` with |w| = 0.9. All sides see the same events; spike counts are compared before anything is timed.
Brian 2 runs from its own Python (--brian2-python), where `pip install 'brian2==2.9.0' 'numpy<2' 'setuptools<80'`
was done; there STDP is the plain pair rule, with our engine set to the same rule. Our times include drawing the
events; Brian 2 is given them, and all samples are one run of it, so that its start-up is paid once.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from nalsm import Config, Events, LiquidNetwork, NetworkSpec, PlasticityParameters, Rates, Simulator, generate
from nalsm.data.loading import RateImages, load_dataset
from nalsm.training.liquid import Liquid
from reprokit import UserError, bench, load_images, peak_memory_mb

STATIC_WEIGHT = 0.9
RULES = {
    "plastic": PlasticityParameters(rule="astrocyte", rate_decay=0.99),
    "pair-STDP": PlasticityParameters(rule="stdp", rate_decay=0.99),
    "static": PlasticityParameters(rule="none"),
}


def images() -> RateImages:
    """Return MNIST where a mirror or a cache has it, else the embedded digits enlarged to 28 x 28."""
    os.environ.setdefault("REPROKIT_OFFLINE", "1")
    try:
        return load_dataset("mnist")  # pyright: ignore[reportReturnType]
    except UserError as error:
        print(f"MNIST is not available ({error}); the embedded digits stand in.")
    small = load_images("digits").train
    large = np.kron(small.images, np.ones((1, 1, 3, 3), np.uint8))
    large = np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)))
    top = float((large / large.sum((1, 2, 3), keepdims=True)).max())
    splits = ("train", "validation", "test")
    return RateImages("digits-28x28", 10, dict.fromkeys(splits, large), dict.fromkeys(splits, small.labels),
                      dict.fromkeys(splits, top))  # fmt: skip


def initialised(network: LiquidNetwork, data: RateImages, config: Config, presentations: int) -> np.ndarray:
    """Return the weights a NALSM initialisation phase reaches; kept in the temporary folder."""
    key = hashlib.sha256(f"{config} {data.name} {presentations}".encode()).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / "nalsm-benchmark" / f"weights-{key}.npy"
    if file.exists():
        return np.load(file, allow_pickle=False)
    liquid = Liquid(network, config)
    begin = time.perf_counter()
    weights = liquid.initialise(data, liquid.start(), presentations).weights
    seconds = time.perf_counter() - begin
    print(f"initialisation: {presentations} presentations of 20 ms in {seconds:.1f} s, "
          f"{seconds / presentations * 5e4:.1f} s for 1e6 ms")  # fmt: skip
    file.parent.mkdir(exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, weights)
    temporary.replace(file)
    return weights


class Brian:
    """The worker process and what it needs to know."""

    def __init__(
        self,
        python: Path,
        network: LiquidNetwork,
        weights: np.ndarray,
        events: Events,
        duration: int,
        plastic: bool,
    ) -> None:
        active = network.active
        sample, time_ms = np.divmod(
            np.repeat(np.arange(events.first[:, :-1].size), np.diff(events.first, axis=1).ravel()), duration
        )
        self.file = Path(tempfile.mkdtemp()) / "case.npz"
        np.savez(
            self.file, excitatory=network.excitatory, liquid=network.liquid, inputs=network.inputs, weight=weights,
            pre=network.pre[active], post=network.post[active], plastic=plastic, duration=duration,
            samples=len(events), channel=events.channels, time=sample * duration + time_ms,
        )  # fmt: skip
        worker = Path(__file__).parent / "_nalsm_brian2_worker.py"
        self.process = subprocess.Popen(
            [str(python), str(worker), str(self.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the Brian 2 worker ended; its message is above.")
        return line.strip()

    def present(self) -> np.ndarray:
        """Present all samples once and return spike counts."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return np.array(json.loads(self._line()))

    def close(self) -> None:
        """End the worker."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.file.unlink()
        self.file.parent.rmdir()


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Return how many spike counts are equal."""
    return f"{np.mean(ours == theirs):.2%} of spike counts equal, {ours.sum()} and {theirs.sum()} spikes"


def report(comparison: bench.Comparison, samples: int) -> None:
    """Print a comparison as times of one sample."""
    ours, theirs = (1000 * s / samples for s in (comparison.ours_seconds, comparison.peer_seconds))
    print(f"  {comparison.threads} threads: {ours:.2f} ms a sample, {comparison.peer} {theirs:.1f} ms, "
          f"{comparison.ratio:.0f}x")  # fmt: skip


def measure(network: LiquidNetwork, weights: dict[str, np.ndarray], source: Rates, name: str,
            options: argparse.Namespace) -> None:  # fmt: skip
    """Compare both cases with the reference, at one and two threads, and with Brian 2."""
    engine, reference = Simulator(network, engine="events"), Simulator(network, engine="torch")
    for kind in ("plastic", "static"):
        rule = RULES[kind]
        case = f"{network.liquid} neurons, {len(source)} {name} samples of 250 ms, {kind}"
        counts = engine.present_independent(source, weights[kind], rule).counts
        print(f"{case}: liquid at {counts.mean() * 4:.1f} Hz")
        if not options.no_torch:
            theirs = reference.present_independent(source, weights[kind], rule).counts
            print(f"  torch reference: {agreement(counts, theirs)}")
            for threads in (1, 2):
                torch.set_num_threads(threads)
                comparison = bench.compare(
                    "nalsm", case, "events", "torch reference",
                    lambda threads=threads, kind=kind, rule=rule: engine.present_independent(
                        source, weights[kind], rule, threads=threads
                    ),
                    lambda kind=kind, rule=rule: reference.present_independent(source, weights[kind], rule),
                    threads=threads, repeats=options.repeats, results=options.results,
                    packages=("nalsm", "torch", "numpy"),
                )  # fmt: skip
                report(comparison, len(source))
            torch.set_num_threads(1)
        against_brian(engine, network, weights[kind], source, name, kind, options)


def against_brian(engine: Simulator, network: LiquidNetwork, weights: np.ndarray, source: Rates, name: str, kind: str,
                  options: argparse.Namespace) -> None:  # fmt: skip
    """Compare one case with Brian 2 on one thread (its runtime mode has no more)."""
    python = options.brian2_python
    if python is None:
        print("  Brian 2: skipped; give --brian2-python, a Python with brian2 (see --help).")
        return
    kind = "pair-STDP" if kind == "plastic" else kind
    rule = RULES[kind]
    brian = Brian(python, network, weights, source.events(250), 250, kind != "static")
    try:
        counts = engine.present_independent(source, weights, rule).counts
        print(f"  Brian {brian.version}, {kind}: {agreement(counts, brian.present())}")
        comparison = bench.compare(
            "nalsm", f"{network.liquid} neurons, {len(source)} {name} samples of 250 ms, {kind}", "events",
            f"Brian {brian.version}",
            lambda: engine.present_independent(source, weights, rule), brian.present,
            repeats=options.repeats, results=options.results, packages=("nalsm", "numpy"),
        )  # fmt: skip
    finally:
        brian.close()
    report(comparison, len(source))


def large(options: argparse.Namespace) -> None:
    """Print time and peak memory of 8000 neurons; in its own process, so that the peak is its own."""
    data = images()
    begin = time.perf_counter()
    network = generate(NetworkSpec((20, 20, 20), data.inputs, seed=1))
    made, memory = time.perf_counter() - begin, peak_memory_mb()
    config = Config(dims=(20, 20, 20), astrocyte_weight=0.0075)
    weights = initialised(network, data, config, options.large_presentations)
    engine = Simulator(network, engine="events")
    source = data.source("train", np.arange(4), 7)
    rule = replace(RULES["plastic"], astrocyte_weight=0.0075)
    for threads in (1, 2):
        times = []
        for _ in range(options.repeats):
            begin = time.perf_counter()
            counts = engine.present_independent(source, weights, rule, threads=threads).counts
            times.append((time.perf_counter() - begin) / len(source))
        print(f"8000 neurons, {int(network.active.sum())} synapses, {data.name}, plastic, {threads} threads: "
              f"{1000 * float(np.median(times)):.1f} ms a sample, liquid at {counts.mean() * 4:.1f} Hz")  # fmt: skip
    print(f"8000 neurons: network made in {made:.1f} s with a peak of {memory:.0f} MB; peak of all "
          f"{peak_memory_mb():.0f} MB, Python and PyTorch included")  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--presentations", type=int, default=10_000, help="of the initialisation phase")
    parser.add_argument(
        "--large-presentations", type=int, default=2000, help="likewise, 8000 neurons; 0 skips them"
    )
    parser.add_argument("--no-torch", action="store_true", help="leave the PyTorch reference out")
    parser.add_argument("--brian2-python", type=Path, default=None, help="Python that has Brian 2")
    parser.add_argument("--only-large", action="store_true", help="8000 neurons alone")
    parser.add_argument("--results", type=Path, default=bench.RESULTS)
    options = parser.parse_args()
    if options.repeats < 3:
        parser.error(f"--repeats is {options.repeats}; a median needs at least 3")
    if options.brian2_python is not None and not options.brian2_python.exists():
        parser.error(f"--brian2-python: there is no {options.brian2_python}")
    return options


def main() -> None:
    options = parse()
    if options.only_large:
        large(options)
        return
    data = images()
    network = generate(NetworkSpec(inputs=data.inputs, seed=1))
    weights = {"plastic": initialised(network, data, Config(), options.presentations),
               "static": network.start_weights(STATIC_WEIGHT)}  # fmt: skip
    measure(network, weights, data.source("train", np.arange(options.samples), 7), data.name, options)
    if options.large_presentations:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only-large"], check=True)


if __name__ == "__main__":
    main()
