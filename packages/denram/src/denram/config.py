"""All choices of one training run in one frozen dataclass: the command line, config.json and the run id."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from reprokit import UserError
from reprokit.config import content_of
from reprokit.data.clock import Start
from reprokit.types import MOST_CHANNELS, TimeUnit

from denram.spec import (
    LEVELS_MV,
    Binning,
    Distribution,
    Engine,
    NetworkSpec,
    Profile,
    Stack,
    level_distances,
)

ORIGINAL_CLASSES = 20  # the original hard-codes 20 outputs
# locations and execution; `channels`: `identity` has those of the data
NOT_IN_CONTENT = ("data", "out", "resume", "force", "threads", "device", "channels", "allow_loss")
LATER = {  # fields that version 0.1 lacked, with the defaults that stand for its behaviour
    **{
        "time_unit": "s",
        "start": "zero",
        "levels": LEVELS_MV,
        "train_delays": False,
        "sigma": 5.0,
        "lr_delays": 0.1,
    },
    **{"layers": 1, "hidden": 64, "hidden_scale": 2.0, "recurrent": False},
}
NETWORKS: dict[
    str, dict[str, Any]
] = {  # the two networks of figure 4d, in the order of the original's script
    "D2": {"n_in": 256, "tau_mem": 15e-3},
    "D1": {"n_in": 700, "tau_mem": 20e-3},
}
HEARTBEAT: dict[
    str, Any
] = {  # ECG of one patient, 16 synapses: two delays for each of 4 channels and 2 classes
    **{"data": "heartbeat-208", "n_in": 4, "n_delays": 2, "steps": 140, "duration": 0.7, "max_delay": 100},
    **{"r_mu": 100e9, "lr": 5e-3, "noise_std": 0.0, "nb_epochs": 40},
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; the defaults are the original's.

    Raises:
        UserError: If a value is outside its range.
    """

    data: str = "shd"
    """Data set: shd, spoken-toy, heartbeat-208 or similar, or a folder with shd_train.h5[.gz] and shd_test.h5[.gz]."""
    profile: Profile = "fixed"
    """fixed: today's good practice; faithful: the original's numbers, quirks included."""
    n_in: int = 700
    """Input channels kept (700: network D1, 256: network D2); stride ceil(channels / n_in)."""
    n_delays: int = 16
    """Delayed synapses for each pair of input channel and output."""
    n_out: int | None = None
    """Outputs; None: as many as the data have classes (faithful: at least the original's 20)."""
    seed: int = 42
    """Seed of weights, delays, noise, split and shuffles."""
    r_mu: float = 500e9
    """Mean resistance of the delay elements, ohm."""
    r_std: float = 0.4
    """Standard deviation of the normal distribution underlying the log-normal resistances."""
    tau_mem: float = 20e-3
    """Time constant of the membrane, seconds."""
    noise_std: float = 0.1
    """Standard deviation of the weight noise relative to the largest absolute weight."""
    nb_epochs: int = 100
    """Maximum number of epochs."""
    lr: float = 2e-4
    """Learning rate of Adam in the first third of the schedule."""
    batch_size: int = 64
    """Samples of one mini-batch."""
    dt: float = 0.005
    """Time step, seconds."""
    steps: int = 150
    """Time steps kept of each recording."""
    duration: float = 1.4
    """Duration over which recordings are binned, seconds; later spikes are dropped."""
    max_delay: int = 200
    """Longest delay, steps; longer ones are clipped."""
    cap: float = 1e-12
    """Capacitance of the delay elements, farad."""
    w_scale: float = 0.3
    """Scale of the initial weights, divided by sqrt(n_in)."""
    distribution: Distribution = "lognormal"
    """Distribution of the delays."""
    patience: int = 25
    """Stop after this many epochs without a new best."""
    validation: float = 0.2
    """Share of the training samples kept for validation."""
    devices: int = 10
    """Noise draws (devices) of the final test in the fixed profile; faithful has one draw per batch."""
    engine: Engine = "auto"
    """fft: pure JAX; events: compiled event engine; auto: the faster one for these data."""
    device: str = "auto"
    """auto (JAX's choice), cpu, or cuda:K, which the fft engine needs."""
    threads: int = 1
    """Threads of the event engine."""
    out: Path | None = None
    """Run directory; None: runs/<name>-<run id>."""
    resume: bool = True
    """Continue an unfinished run; --no-resume refuses an existing directory."""
    force: bool = False
    """First delete the run in the directory: the files it wrote, and nothing else."""
    train_delays: bool = False
    """Also train the delays, as continuous values with a narrowing Gaussian; they end as whole steps."""
    sigma: float = 5.0
    """Initial width of that Gaussian, steps; it ends at 0."""
    lr_delays: float = 0.1
    """Learning rate of the delays, steps; it follows the schedule of the weights' rate."""
    layers: int = 1
    """Delay layers: hidden ones of threshold neurons, and the readout."""
    hidden: int = 64
    """Threshold neurons of each hidden layer."""
    hidden_scale: float = 2.0
    """Scale of the initial weights of hidden layers, divided by sqrt(n_in * n_delays)."""
    recurrent: bool = False
    """Give hidden layers recurrent connections."""
    channels: int | None = None
    """Channels of own data; None: as many as occur in the files, at least n_in."""
    time_unit: TimeUnit = "s"
    """Unit of the spike times of own data: s, ms or us."""
    start: Start = "zero"
    """Clock of own data: zero: as in the files; first-event: the first spike of each recording is at 0."""
    allow_loss: bool = False
    """Train even if more than 5 % of the spikes of own data are dropped, which is otherwise an error."""
    levels: tuple[float, ...] = LEVELS_MV
    """Distance of the levels that turn heartbeats into spikes, mV: one for both leads, or one for each."""

    def __post_init__(self) -> None:
        for name in (
            "n_in",
            "n_delays",
            "nb_epochs",
            "batch_size",
            "steps",
            "patience",
            "devices",
            "threads",
            "layers",
            "hidden",
        ):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            self._require(name, whole, "must be a whole number")
            self._require(name, bool(value >= 1), "must be at least 1")
        for name in (
            "r_mu",
            "tau_mem",
            "lr",
            "dt",
            "duration",
            "cap",
            "w_scale",
            "hidden_scale",
            "lr_delays",
            "sigma",
        ):
            value = getattr(self, name)
            self._require(name, math.isfinite(value) and value > 0, "must be a positive number")
        for name in ("r_std", "noise_std"):
            value = getattr(self, name)
            self._require(name, math.isfinite(value) and value >= 0, "must be 0 or a positive number")
        self._require(
            "n_out", self.n_out is None or self.n_out >= 1, "must be at least 1, or None for automatic"
        )
        self._require(
            "channels",
            self.channels is None or 1 <= self.channels <= MOST_CHANNELS,
            f"must be from 1 to {MOST_CHANNELS}, or None for automatic",
        )
        self._require("seed", 0 <= self.seed < 2**32, "must be from 0 to 4294967295")
        self._require("validation", 0 < self.validation < 1, "must lie between 0 and 1")
        self._require("max_delay", self.max_delay >= 0, "must be at least 0")
        for name, choice in (
            ("profile", Profile),
            ("engine", Engine),
            ("distribution", Distribution),
            ("time_unit", TimeUnit),
            ("start", Start),
        ):
            allowed = get_args(choice)
            self._require(name, getattr(self, name) in allowed, f"must be one of {', '.join(allowed)}")
        self._require("data", bool(self.data), "must name a data set or a folder")
        level_distances(self.levels)
        if self.stacked:
            self._check_stack()
        _ = self.binning  # checks steps, dt and duration against one another

    def _require(self, name: str, fine: bool, allowed: str) -> None:
        if not fine:
            raise UserError(f"{name} is {getattr(self, name)!r}; it {allowed}.")

    def _check_stack(self) -> None:
        name = "train_delays" if self.train_delays else "layers" if self.layers > 1 else "recurrent"
        self._require(
            name, not self.faithful, "needs profile fixed: the original trains one layer with fixed delays"
        )
        self._require(
            "engine",
            self.engine != "events",
            f"cannot be combined with {name}, which JAX trains; choose auto or fft",
        )
        self._require(
            "recurrent", self.layers > 1 or not self.recurrent, "needs a hidden layer: give --layers 2"
        )

    @property
    def stacked(self) -> bool:
        """Whether this extends the paper's network: learned delays, hidden layers or recurrence."""
        return self.train_delays or self.layers > 1 or self.recurrent

    def check_used(self) -> None:
        """Refuse settings that have no effect because of others; checked for new runs only, not for stored ones.

        Raises:
            UserError: Devices in the faithful profile, resistances of delays that are not log-normal, or
            settings of learned delays or hidden layers without these.
        """
        plain = TrainConfig()
        idle = {"devices": "the faithful profile tests one draw per batch"} if self.faithful else {}
        if self.distribution != "lognormal":
            idle |= dict.fromkeys(("r_mu", "r_std", "cap"), f"{self.distribution} delays have no resistances")
        if not self.data.startswith("heartbeat-"):
            idle["levels"] = "only heartbeats are cut into levels"
        if not self.train_delays:
            idle |= dict.fromkeys(("sigma", "lr_delays"), "delays are not trained (--train-delays)")
        if self.layers == 1:
            idle |= dict.fromkeys(("hidden", "hidden_scale"), "there is no hidden layer (--layers 2)")
        for name, why in idle.items():
            self._require(
                name,
                getattr(self, name) == getattr(plain, name),
                f"has no effect, because {why}; leave it out",
            )

    @property
    def faithful(self) -> bool:
        """Whether to reproduce the original's quirks."""
        return self.profile == "faithful"

    @property
    def binning(self) -> Binning:
        """How recordings are binned."""
        return Binning(n_in=self.n_in, steps_in=self.steps, dt=self.dt, duration=self.duration)

    def network(self, n_classes: int) -> NetworkSpec:
        """The network these settings describe, for data of `n_classes` classes."""
        return NetworkSpec(
            n_in=self.n_in,
            n_delays=self.n_delays,
            n_out=self.outputs(n_classes),
            steps_in=self.steps,
            dt=self.dt,
            tau_mem=self.tau_mem,
            max_delay=self.max_delay,
            r_mu=self.r_mu,
            r_std=self.r_std,
            capacitance=self.cap,
            weight_scale=self.w_scale,
            distribution=self.distribution,
            profile=self.profile,
        )

    def stack(self, n_classes: int) -> Stack:
        """The stacked network these settings describe, for data of `n_classes` classes."""
        return Stack(self.network(n_classes), self.layers, self.hidden, self.recurrent, self.hidden_scale)

    def outputs(self, n_classes: int) -> int:
        """Number of outputs for data of `n_classes` classes (DEV-12: the original hard-codes 20).

        Raises:
            UserError: If `n_out` was set to fewer than the classes of the data.
        """
        if self.n_out is None:
            return max(ORIGINAL_CLASSES, n_classes) if self.faithful else n_classes
        if self.n_out < n_classes:
            raise UserError(
                f"n_out is {self.n_out}, but the data have {n_classes} classes; "
                f"leave n_out out or set at least {n_classes}."
            )
        return self.n_out

    @property
    def name(self) -> str:
        """Short name that distinguishes the runs of a study, for folders: inputs, noise and seed."""
        return f"n{self.n_in}-noise{self.noise_std:g}-seed{self.seed}"

    def content(self) -> dict[str, Any]:
        """Everything that determines the run's numbers, as JSON values (no paths, no threads)."""
        later = content_of(self, since_0_1=LATER)
        return {name: value for name, value in later.items() if name not in NOT_IN_CONTENT}
