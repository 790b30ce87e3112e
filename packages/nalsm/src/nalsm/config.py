"""The full configuration of a run, which is also its command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from reprokit import UserError
from reprokit.config import content_of
from reprokit.own_code import check_source, load_factory, source_note
from tyro.conf import Suppress

from nalsm.checks import real, whole
from nalsm.names import is_own
from nalsm.parameters import NeuronParameters, PlasticityParameters, Rule, check_rule

Model = Literal["nalsm", "lsm-stdp", "lsm", "lsm-apstdp"]
Profile = Literal["fixed", "faithful"]
READOUTS = ("lbfgs", "adadelta", "ridge")
MODELS: tuple[Model, ...] = ("nalsm", "lsm-stdp", "lsm", "lsm-apstdp")
START_WEIGHT = {"nalsm": 3.0, "lsm-stdp": 3.0, "lsm": 0.9, "lsm-apstdp": 1.0}
PHASE_RULES: dict[Model, tuple[Rule, Rule]] = {  # initialisation phase, sample phase
    "nalsm": ("astrocyte", "astrocyte"),
    "lsm-stdp": ("stdp", "stdp"),
    "lsm": ("none", "none"),
    "lsm-apstdp": ("calcium", "none"),
}


@dataclass(frozen=True)
class Quirks:
    """Behaviour of the original that changes numbers: off in `fixed`, on in `faithful`, each can be set alone."""

    frozen_stdp: bool = False
    """DEV-1: under lsm-stdp only the first sample of each batch is plastic (the original on a GPU)."""
    carry_trace: bool = False
    """DEV-3: in the sample phase, STDP traces continue to the sample at the same place of the next batch."""
    own_test_scaling: bool = False
    """DEV-4: test images are scaled by their own maximum, which gives 10 % more input events on MNIST."""
    jitter_per_sample: bool = False
    """DEV-5: N-MNIST noise shifts a whole recording instead of each event."""
    batch_maximum: bool = False
    """DEV-6: the readout divides features by the maximum of each batch."""


QUIRKS = tuple(field.name for field in fields(Quirks))
BOUNDS = ("initial_duration", "initial_samples", "readout_epochs", "soft_labels")
NEWEST = 2  # revision of runs on your own data
WHOLE = dict.fromkeys(("duration", "initial_duration", "batch", "readout_epochs", "initial_samples", "train_samples",
                       "validation_samples", "test_samples"), 1) | dict.fromkeys(
    ("seed", "network_seed", "record", "refractory"), 0)  # the smallest value of each  # fmt: skip
LATER = dict.fromkeys((*QUIRKS, "input_scale", "input_rate")) | {
    "start": "zero",
    "rule": None,
    "rule_source": None,
    "recurrence": True,
}  # fields that 0.1 lacked


@dataclass(frozen=True)
class Config:
    """Everything that determines a liquid, its features and its readout."""

    model: Model = "nalsm"
    """Which liquid: nalsm, lsm-stdp, lsm (fixed weights) or lsm-apstdp."""
    data: str = "mnist"
    """mnist, fashion-mnist, n-mnist, digits, digits-events, or a path to images, events or an .npz file."""
    network: str | None = None
    """Network file made by `nalsm network`; None generates one from dims and network_seed."""
    dims: tuple[int, int, int] = (10, 10, 10)
    network_seed: int = 1
    recurrence: bool = True
    """False: the same input synapses, and none between liquid neurons."""
    seed: int = 0
    """Seed of input events, order of the initialisation images and noise (DEV-8: random in the original)."""
    profile: Profile = "fixed"
    """fixed, or faithful to the original, mistakes included; the next five set single ones, None: as the profile."""
    frozen_stdp: bool | None = None
    """DEV-1: under lsm-stdp only the first sample of each batch is plastic (the original on a GPU)."""
    carry_trace: bool | None = None
    """DEV-3: STDP traces continue to the sample at the same place of the next batch."""
    own_test_scaling: bool | None = None
    """DEV-4: test images are scaled by their own maximum."""
    jitter_per_sample: bool | None = None
    """DEV-5: noise shifts a whole recording instead of each event."""
    batch_maximum: bool | None = None
    """DEV-6: the readout (adadelta) divides features by the maximum of each batch."""
    weight: float | None = None
    """Start magnitude |w|; None takes 3 (nalsm, lsm-stdp), 0.9 (lsm) or 1 (lsm-apstdp)."""
    astrocyte_weight: float = 0.015
    """w_a: 0.015 for 1000 neurons, 0.0075 for 8000."""
    astrocyte_bias_offset: float = 0.0
    astrocyte_tau: float = 100.0
    ap_theta: float = 37.0
    """AP-STDP threshold on calcium, Hz."""
    ap_range: float = 23.0
    """AP-STDP window around the threshold, Hz."""
    rate: float = 0.15
    """STDP learning rate at the start of a presentation."""
    rate_decay: float = 0.99
    """Factor on the learning rates after each millisecond of a sample."""
    max_weight: float = 3.0
    duration: int = 250
    """Milliseconds of a sample."""
    initial_duration: int = 20
    """Milliseconds of a presentation of the initialisation phase."""
    initial_samples: int | None = None
    """Presentations of the initialisation phase; None presents every training sample once."""
    train_samples: int | None = None
    """Use part of the training set (a reduced run): the first samples, or some of every class of own data; the
    next two likewise."""
    validation_samples: int | None = None
    test_samples: int | None = None
    tau_v: float = 64.0
    threshold: float = 20.0
    refractory: int = 2
    tau_u: float = 1.0
    input_current: float = 100.0
    batch: int = 250
    """Batch size of the original: it matters under `faithful` and for adadelta. Otherwise results do not depend
    on it; the torch engine simulates this many samples at once, which limits its memory."""
    readout: Literal["lbfgs", "adadelta", "ridge"] = "lbfgs"
    """adadelta is the original's, 5000 epochs (DEV-7)."""
    soft_labels: bool = True
    """Train the readout lbfgs on the original's soft labels (0.45 / 0.06) rather than one-hot; adadelta always does."""
    readout_epochs: int = 5000
    """Epochs of adadelta, or the maximum number of iterations of lbfgs (300 suffice)."""
    record: int = 20
    """Number of test samples whose spikes are kept, for the branching factor and rasters."""
    input_scale: Literal["max", "quantile"] | None = None
    """Share of brightness that gets the highest rate: the largest (max), or the 99.9 % quantile of the training
    part; None: quantile for own images under `fixed`, otherwise max (DEV-11)."""
    input_rate: float | None = None
    """Events per second of a pixel at that share or above, at most 1000; None: 1000, one per millisecond."""
    start: Literal["zero", "first-event"] = "zero"
    """Start of time in own event recordings: 0 of their clock, or the first event of each."""
    allow_loss: bool = False
    """Warn if more than 5 % of own data are lost, instead of refusing."""
    revision: int | None = None
    """1 reads own data as version 0.1 did (first samples, largest share, two polarities); None: the newest, 2."""

    rule: str | None = None
    """Import path package.module:factory of your own weight rule, see nalsm.PlasticityRule; it replaces the
    model's rule in the phases in which that one learns. The factory gets the `PlasticityParameters` of a phase."""
    rule_source: Annotated[str | None, Suppress] = None
    """That import path and the first 16 digits of the SHA-256 of its file."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        if self.model not in MODELS:
            raise UserError(f"model is {self.model!r}; choose one of {', '.join(MODELS)}.")
        if self.profile not in ("fixed", "faithful"):
            raise UserError(f"profile is {self.profile!r}; choose fixed or faithful.")
        if self.readout not in READOUTS:
            raise UserError(f"readout is {self.readout!r}; choose one of {', '.join(READOUTS)}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("float", "float | None") and value is not None and type(value) is not int:
                self._settle(field.name, real(field.name, value))
        if np.ndim(self.dims) != 1 or len(self.dims) != 3 or any(int(d) != d or d < 1 for d in self.dims):
            raise UserError(f"dims is {self.dims}; give three whole numbers of 1 or more.")
        self._settle("dims", tuple(int(d) for d in self.dims))
        if type(self.recurrence) is not bool:
            raise UserError(f"recurrence is {self.recurrence!r}; give True or False.")
        for name, least in WHOLE.items():
            if getattr(self, name) is not None:
                self._settle(name, whole(name, getattr(self, name), least))
        if self.network_seed >= 2**32:
            raise UserError(f"network_seed is {self.network_seed}; it must lie in [0, 2**32).")
        if self.weight is not None and not self.weight > 0:
            raise UserError(f"weight is {self.weight}; it must be above 0.")
        if self.revision not in (None, 1, NEWEST):
            raise UserError(f"revision is {self.revision}; choose 1 or {NEWEST}.")
        if self.revision == NEWEST and not is_own(self.data):
            raise UserError(
                f"revision is {self.revision}, but data {self.data!r} has revision 1 only; leave it out."
            )
        if self.input_scale not in (None, "max", "quantile"):
            raise UserError(f"input_scale is {self.input_scale!r}; choose max or quantile, or leave it out.")
        if self.input_rate is not None and not 0 < self.input_rate <= 1000:
            raise UserError(f"input_rate is {self.input_rate} Hz; it must be above 0 and at most 1000.")
        if self.start not in ("zero", "first-event"):
            raise UserError(f"start is {self.start!r}; choose zero or first-event.")
        if self.start != "zero" and not is_own(self.data):
            raise UserError(
                f"start is {self.start!r}, but the clock of {self.data} is the published one; leave it out."
            )
        if self.rule is not None and self.model == "lsm":
            raise UserError(
                f"rule is {self.rule!r}, but model lsm has fixed weights; choose model nalsm, lsm-stdp or lsm-apstdp."
            )
        self._settle(
            "rule_source", None if self.rule is None else source_note(self.rule, "--rule", self.rule_source)
        )
        self.neuron()
        self._named("initialise")
        self._named("sample")

    def _settle(self, name: str, value: Any) -> None:
        """Store a value in its plain form: a NumPy number has a different text and would get a different run id."""
        object.__setattr__(self, name, value)

    def idle(self) -> dict[str, str]:
        """Return the non-default settings that nothing reads, and what would read them."""
        model = self.model
        learns = PHASE_RULES[model][0] != "none"
        readers = {
            "nalsm": (model == "nalsm", ("astrocyte_weight", "astrocyte_bias_offset", "astrocyte_tau")),
            "lsm-apstdp": (model == "lsm-apstdp", ("ap_theta", "ap_range")),
            "nalsm, lsm-stdp or lsm-apstdp": (
                learns, ("rate", "max_weight", "initial_duration", "initial_samples")
            ),
            "nalsm or lsm-stdp": (PHASE_RULES[model][1] != "none", ("rate_decay", "carry_trace")),
            "lsm-stdp": (model == "lsm-stdp", ("frozen_stdp",)),
        }  # fmt: skip
        found = {
            name: f"model {who}" for who, (reads, names) in readers.items() if not reads for name in names
        }
        if self.readout == "ridge":
            found["readout_epochs"] = "readout lbfgs or adadelta"
        if self.readout != "lbfgs":
            found["soft_labels"] = "readout lbfgs"
        if self.readout != "adadelta":
            found["batch_maximum"] = "readout adadelta"
        return {name: who for name, who in found.items() if getattr(self, name) != getattr(Config, name)}

    @property
    def start_weight(self) -> float:
        """|w| of all synapses before initialisation, the paper's for each model."""
        return START_WEIGHT[self.model] if self.weight is None else self.weight

    @property
    def quirks(self) -> Quirks:
        """The quirks that the profile switches on, unless single settings override it."""
        faithful = self.profile == "faithful"
        given = {name: getattr(self, name) for name in QUIRKS}
        return Quirks(**{name: faithful if value is None else value for name, value in given.items()})

    def content(self) -> dict[str, Any]:
        """Return the settings that are hashed into the run id and stored in config.json.

        These are all fields except allow_loss, which changes no number; fields that version 0.1 lacked appear
        only if they differ from their defaults.
        """
        values = asdict(self) | {"revision": self.effective_revision}
        del values["allow_loss"]
        return content_of(values, since_0_1=LATER)

    @property
    def effective_revision(self) -> int:
        """The effective revision; it is always 1 for named data sets."""
        if not is_own(self.data):
            return 1
        return NEWEST if self.revision is None else self.revision

    def neuron(self) -> NeuronParameters:
        """Return the constants of the neurons."""
        return NeuronParameters(self.tau_v, self.threshold, self.refractory, self.tau_u, self.input_current)

    def plasticity(self, phase: Literal["initialise", "sample"]) -> PlasticityParameters:
        """Return the weight rule of a phase: `PHASE_RULES`, or the user's own; rates decay in the sample phase.

        Raises:
            UserError: if a user's own rule cannot be imported, is not a rule, or its file changed since this
                configuration was made.
        """
        named = self._named(phase)
        if self.rule is None or named.rule == "none":
            return named
        check_source(self.rule, "--rule", self.rule_source)
        return replace(named, rule=_own_rule(self.rule, self.rule_source, named))

    def _named(self, phase: Literal["initialise", "sample"]) -> PlasticityParameters:
        return PlasticityParameters(
            rule=PHASE_RULES[self.model][0 if phase == "initialise" else 1],
            rate=self.rate,
            rate_decay=self.rate_decay if phase == "sample" else 1.0,
            weight_limit=self.max_weight,
            astrocyte_weight=self.astrocyte_weight,
            astrocyte_bias_offset=self.astrocyte_bias_offset,
            astrocyte_tau=self.astrocyte_tau,
            calcium_threshold=self.ap_theta,
            calcium_range=self.ap_range,
        )


@cache
def _own_rule(path: str, note: str | None, parameters: PlasticityParameters) -> object:  # noqa: ARG001
    """Return what a factory makes from the parameters of a phase; `note` distinguishes versions of its file."""
    factory = load_factory(path, "--rule")
    try:
        made = factory(parameters)
    except TypeError as error:
        raise UserError(
            f"--rule {path} cannot be called with PlasticityParameters alone ({error}); give one that can."
        ) from error
    return check_rule(made, f"--rule {path}: what it returns")


def refuse_idle(configs: Sequence[Config]) -> list[str]:
    """Refuse a setting that none of these runs would read, because runs that differ only in it would be the same.

    Returns:
        A line about each setting that only limits the work of a phase (`BOUNDS`) that these runs do not have.

    Raises:
        UserError: the message names the setting and what reads it.
    """
    first, lines = configs[0], []
    for name, who in first.idle().items():
        if not all(name in config.idle() for config in configs):
            continue
        said = f"{name} is {getattr(first, name)}, which model {first.model} with readout {first.readout} does not use"
        if name not in BOUNDS:
            raise UserError(f"{said}; leave it out, or choose {who}.")
        lines.append(f"{said} ({who} does)")
    return lines
