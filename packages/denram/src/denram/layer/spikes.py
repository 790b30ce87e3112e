"""Spikes as an argument of JAX functions: the events of some samples in arrays of fixed shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from reprokit import UserError

from denram.data.events import EventBatch
from denram.engines import fft
from denram.spec import require_whole

Array = np.ndarray | jax.Array
LONGEST = np.iinfo(np.uint16).max


@partial(jax.tree_util.register_dataclass, data_fields=["steps", "starts"], meta_fields=["steps_in"])
@dataclass(frozen=True, eq=False)
class Spikes:
    """Spikes of some samples, channels and steps, as a pytree.

    The spikes of channel c in sample s are ``steps[s, starts[s, c] : starts[s, c + 1]]``, ascending, each step at most
    once; entries after ``starts[s, -1]`` are padding. The sample axis comes first in all leaves, so
    ``jax.vmap``, ``jax.lax.scan``, sharding and ``spikes[indices]`` act on samples; a single sample has no such axis.

    JAX compiles for shapes: convert a data set once and take batches of it (``spikes[indices]``), or give every
    batch the same `capacity`, and nothing is compiled twice. Conversions return NumPy arrays. The constructor
    checks nothing, because JAX calls it with arbitrary objects; `scores` refuses spikes outside of the input.

    Attributes:
        steps: Time step of every spike, uint16 ``(sample, capacity)``.
        starts: Where the spikes of a channel start in the row of their sample, int32 ``(sample, n_in + 1)``.
        steps_in: Number of time steps of input; static.
    """

    steps: Any
    starts: Any
    steps_in: int

    def __len__(self) -> int:
        """Number of samples."""
        if self.starts.ndim < 2:
            raise UserError("these spikes are a single sample without a sample axis; len() needs one.")
        return self.starts.shape[0]

    @property
    def n_in(self) -> int:
        """Number of channels."""
        return self.starts.shape[-1] - 1

    @property
    def capacity(self) -> int:
        """Maximum number of spikes per sample."""
        return self.steps.shape[-1]

    def __getitem__(self, index: Any) -> Spikes:
        """The chosen samples (a number: one sample without a sample axis); an index may be traced."""
        if self.starts.ndim < 2:
            raise UserError(
                "these spikes are a single sample without a sample axis; there is nothing to choose."
            )
        host = not isinstance(index, jax.Array)
        steps, starts = (array if host else jnp.asarray(array) for array in (self.steps, self.starts))
        return Spikes(steps[index], starts[index], self.steps_in)

    @classmethod
    def from_events(cls, events: EventBatch, *, capacity: int | None = None) -> Spikes:
        """The spikes of an `EventBatch`.

        Args:
            events: The spikes.
            capacity: Maximum number of spikes per sample; None: that of the sample with the most spikes.

        Raises:
            UserError: A sample with more spikes than that.
        """
        return cls(*events.padded(None if capacity is None else _room(capacity)), events.steps_in)

    @classmethod
    def from_dense(cls, spikes: Array, *, capacity: int | None = None) -> Spikes:
        """Spikes given as 0 and 1.

        Args:
            spikes: Values 0 and 1, ``(sample, time, channel)``, or ``(time, channel)`` for a single sample. Under
                ``jax.jit`` every value other than 0 counts as 1.
            capacity: As in `from_events`; needed under ``jax.jit``, where `scores` refuses a sample with more spikes.

        Raises:
            UserError: An array with other axes or values, or a traced one without `capacity`.
        """
        if np.ndim(spikes) not in (2, 3):
            raise UserError(
                f"spikes has shape {np.shape(spikes)}; it must be (sample, time, channel) or (time, channel)."
            )
        steps_in = _steps_in(np.shape(spikes)[-2])
        if isinstance(spikes, Tracer):
            if capacity is None:
                raise UserError(
                    "capacity is missing; under jax.jit it must say how many spikes a sample may have."
                )
            traced = jnp.asarray(spikes)
            pack = partial(_pack, capacity=_room(capacity))
            steps, starts = pack(traced) if traced.ndim == 2 else jax.vmap(pack)(traced)
            return cls(steps, starts, steps_in)
        array = np.asarray(spikes)
        batch = cls.from_events(
            EventBatch.from_dense(array[None] if array.ndim == 2 else array), capacity=capacity
        )
        return batch[0] if array.ndim == 2 else batch

    @classmethod
    def from_times(
        cls,
        times: Sequence[np.ndarray],
        units: Sequence[np.ndarray],
        *,
        n_in: int,
        steps_in: int,
        dt: float,
        capacity: int | None = None,
        drop_late: bool = False,
    ) -> Spikes:
        """Spikes given as times and channels, one pair of arrays for each sample; step = floor(time / dt).

        Args:
            times: Time of each spike of a sample, in any order and any unit of time.
            units: The channel of each spike.
            n_in: Number of channels.
            steps_in: Number of time steps.
            dt: Length of a time step in the unit of the times: 0.005 for seconds, 5000 for microseconds.
            capacity: As in `from_events`.
            drop_late: Leave out spikes that come after the last step, instead of refusing them.

        Several spikes of a channel in one step count as one.

        Raises:
            UserError: Times or channels out of range, arrays that do not fit together.
        """
        if not (np.isfinite(dt) and dt > 0):
            raise UserError(f"dt is {dt!r}; it must be a finite number above 0, in the unit of the times.")
        if len(times) != len(units):
            raise UserError(f"there are times of {len(times)} samples and units of {len(units)}.")
        for number, (when, who) in enumerate(zip(times, units, strict=True)):
            if np.ndim(when) != 1 or np.shape(when) != np.shape(who):
                raise UserError(
                    f"sample {number} has times of shape {np.shape(when)} and units of shape {np.shape(who)}; "
                    "each must be a row with one value per spike."
                )
        counts = [len(when) for when in times]
        sample = np.repeat(np.arange(len(counts)), counts)
        when = np.concatenate([np.zeros(0), *(np.asarray(row, np.float64) for row in times)])
        who = np.concatenate([np.zeros(0, np.int64), *(_whole(row) for row in units)])
        if not np.all(when >= 0):  # NaN, too
            raise UserError("times holds a value that is negative or not a number; times count from 0.")
        late = when >= dt * steps_in
        if np.any(late) and not drop_late:
            raise UserError(
                f"times holds {when.max():g}, but {steps_in} steps of dt = {dt:g} end at {dt * steps_in:g}; give dt in "
                "the unit of the times, more steps, or drop_late=True."
            )
        step = np.minimum(np.floor(when[~late] / dt), steps_in - 1).astype(
            np.int64
        )  # a quotient may be rounded up
        events = EventBatch.from_coordinates(
            sample[~late], step, who[~late], n_samples=len(counts), steps_in=_steps_in(steps_in), n_in=n_in
        )
        return cls.from_events(events, capacity=capacity)

    @classmethod
    def from_structured(
        cls,
        samples: Sequence[np.ndarray],
        *,
        n_in: int,
        steps_in: int,
        dt: float,
        capacity: int | None = None,
        drop_late: bool = False,
    ) -> Spikes:
        """Spikes in tonic's structured arrays, one for each sample, with fields ``t`` (in µs) and ``x`` (the channel).

        Args:
            samples: The arrays.
            n_in: As in `from_times`, as are the following arguments.
            steps_in: Number of time steps.
            dt: Length of a time step in the unit of ``t``: 5000 for 5 ms, as tonic counts microseconds.
            capacity: As in `from_events`.
            drop_late: Leave out spikes after the last step.

        Raises:
            UserError: An array without these fields, or anything that `from_times` refuses. Fields ``y`` and
                ``p`` with more than one value are refused too, because their channel would be a guess.
        """
        for number, array in enumerate(samples):
            names = getattr(getattr(array, "dtype", None), "names", None) or ()
            if not {"t", "x"} <= set(names):
                raise UserError(
                    f"sample {number} has fields {names}; needed are 't' and 'x', as tonic names them."
                )
        for name in ("y", "p"):
            found = {
                value
                for array in samples
                if name in (array.dtype.names or ())
                for value in np.unique(array[name])
            }
            if len(found) > 1:
                raise UserError(
                    f"field {name!r} holds {len(found)} different values; compute one channel number for each "
                    "spike and use from_times."
                )
        return cls.from_times(
            [array["t"] for array in samples], [array["x"] for array in samples],
            n_in=n_in, steps_in=steps_in, dt=dt, capacity=capacity, drop_late=drop_late,
        )  # fmt: skip

    def events(self) -> EventBatch:
        """The spikes as an `EventBatch` (a single sample becomes a batch of one); not under ``jax.jit``.

        Raises:
            UserError: Spikes that are not ascending, or are outside of the input.
        """
        steps, starts = (np.atleast_2d(np.asarray(array)) for array in (self.steps, self.starts))
        offsets = np.arange(len(steps), dtype=np.int64)[:, None] * self.capacity
        if np.any(starts[:, -1] > self.capacity):
            raise UserError(f"a sample has {starts[:, -1].max()} spikes; there is room for {self.capacity}.")
        return EventBatch(steps.ravel(), starts.astype(np.int64) + offsets, self.steps_in)

    def dense(self) -> jax.Array:
        """The spikes as uint8 0 and 1, ``(sample, time, channel)`` or ``(time, channel)``; also under ``jax.jit``."""
        return fft.dense(jnp.asarray(self.steps), jnp.asarray(self.starts), self.steps_in)

    def times(self, dt: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Times (the beginning of their step, float64) and channels (int64) of each sample, in the order of time."""
        sample, step, channel = self.events().coordinates()
        order = np.lexsort((channel, step, sample))
        ends = np.cumsum(np.bincount(sample, minlength=np.atleast_2d(self.starts).shape[0]))[:-1]
        return list(zip(np.split(step[order] * dt, ends), np.split(channel[order], ends), strict=True))

    def structured(self, dt: float) -> list[np.ndarray]:
        """Each sample as tonic's structured array with fields ``t`` (int64), ``x`` and ``p`` (always 1).

        Args:
            dt: Length of a time step in the desired unit: 5000 for 5 ms in microseconds.
        """
        made = []
        for when, who in self.times(dt):
            array = np.ones(len(when), np.dtype([("t", np.int64), ("x", np.int64), ("p", np.int64)]))
            array["t"], array["x"] = np.rint(when), who
            made.append(array)
        return made


def _room(capacity: int) -> int:
    require_whole("capacity", capacity, minimum=1)  # an array without elements is useless
    return int(capacity)


def _steps_in(steps: int) -> int:
    if not 0 < steps <= LONGEST:
        raise UserError(f"steps_in is {steps}; it must lie between 1 and {LONGEST}.")
    return int(steps)


def _whole(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if len(array) and not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"units is {array.dtype}; channels are whole numbers.")
    return array.astype(np.int64)


def _pack(spikes: jax.Array, capacity: int) -> tuple[jax.Array, jax.Array]:
    """One sample, (time, channel), as rows of a fixed length; with too many spikes the last start is beyond it."""
    by_channel = spikes.T != 0
    counts = jnp.sum(by_channel, axis=1, dtype=jnp.int32)
    (places,) = jnp.nonzero(by_channel.ravel(), size=capacity, fill_value=0)
    steps = (places % spikes.shape[0]).astype(jnp.uint16)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(counts, dtype=jnp.int32)])
    return steps, starts
