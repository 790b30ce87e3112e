"""The settings of a layer that are no parameters: checked when set, and part of its state_dict."""

from typing import Any

import torch
from reprokit import UserError
from torch import Tensor

from sbs.checks import real, whole
from sbs.engines.geometry import Geometry
from sbs.model.time_course import TimeCourse, as_time_course
from sbs.rules.inference import Learning


class LayerState:
    """Properties and state of `sbs.SbSLayer`; the original kept only weights and epsilon_xy (DEV-9)."""

    _geometry: Geometry
    _h_initial: Tensor
    _epsilon_xy: torch.nn.Parameter
    _weights: torch.nn.Parameter
    learning: Learning
    training: bool
    _backup: dict[str, Tensor] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Let a property also take another layer's parameter, which torch would refuse to assign."""
        if isinstance(value, torch.nn.Parameter) and isinstance(getattr(type(self), name, None), property):
            value = value.detach()
        super().__setattr__(name, value)

    @property
    def number_of_spikes(self) -> int:
        """S per position in training, and in eval mode unless `eval_number_of_spikes` is set."""
        return self._number_of_spikes

    @number_of_spikes.setter
    def number_of_spikes(self, value: Any) -> None:
        self._number_of_spikes = whole("number_of_spikes", value, 1)

    @property
    def eval_number_of_spikes(self) -> int | None:
        """S per position in eval mode; None takes `number_of_spikes`."""
        return self._eval_number_of_spikes

    @eval_number_of_spikes.setter
    def eval_number_of_spikes(self, value: Any) -> None:
        self._eval_number_of_spikes = None if value is None else whole("eval_number_of_spikes", value, 1)

    @property
    def current_number_of_spikes(self) -> int:
        """S of the next call."""
        if self.training or self._eval_number_of_spikes is None:
            return self._number_of_spikes
        return self._eval_number_of_spikes

    @property
    def epsilon_t(self) -> Tensor:
        """Time course of the step for the spikes of the next call, float32 ``(spike,)``."""
        return self._course(self.current_number_of_spikes)

    @epsilon_t.setter
    def epsilon_t(self, value: Any) -> None:
        course = as_time_course(value)
        if isinstance(course, Tensor) and len(course) < self._number_of_spikes:
            raise UserError(
                f"epsilon_t has {len(course)} values for {self._number_of_spikes} spikes; give one per spike, or a "
                "TimeCourse"
            )
        self._time_course: TimeCourse | Tensor = course

    @property
    def time_course(self) -> TimeCourse | Tensor:
        """The rule behind `epsilon_t`, or the values given for it."""
        return self._time_course

    def _course(self, count: int) -> Tensor:
        if isinstance(self._time_course, TimeCourse):
            return self._time_course.values(count)
        if len(self._time_course) < count:
            raise UserError(
                f"number_of_spikes is {count} but epsilon_t has {len(self._time_course)} values; give one per "
                "spike, or a TimeCourse"
            )
        return self._time_course[:count]

    @property
    def epsilon_0(self) -> float:
        """Global factor of the step."""
        return self._epsilon_0

    @epsilon_0.setter
    def epsilon_0(self, value: Any) -> None:
        self._epsilon_0 = real("epsilon_0", value, above=0)

    @property
    def alpha_number_of_iterations(self) -> int:
        """Iterations of spatial attention; 0 is off."""
        return self._alpha_iterations

    @alpha_number_of_iterations.setter
    def alpha_number_of_iterations(self, value: Any) -> None:
        self._alpha_iterations = whole("alpha_number_of_iterations", value, 0)

    @property
    def number_of_cpu_processes(self) -> int:
        """Threads of the kernel."""
        return self._threads

    @number_of_cpu_processes.setter
    def number_of_cpu_processes(self, value: Any) -> None:
        self._threads = whole("number_of_cpu_processes", value, 1)

    def backup_weights(self) -> None:
        """Keep a copy of the weights in memory."""
        self._keep("_weights")

    def restore_weights(self) -> None:
        """Bring the copied weights back."""
        self._bring_back("_weights")

    def backup_epsilon_xy(self) -> None:
        """Keep a copy of epsilon_xy in memory."""
        self._keep("_epsilon_xy")

    def restore_epsilon_xy(self) -> None:
        """Bring the copied epsilon_xy back."""
        self._bring_back("_epsilon_xy")

    def _keep(self, name: str) -> None:
        self._backup = {**(self._backup or {}), name: getattr(self, name).detach().clone()}

    def _bring_back(self, name: str) -> None:
        if name not in (self._backup or {}):
            raise UserError(f"there is no backup to restore; call backup{name}() first")
        with torch.no_grad():
            getattr(self, name).copy_(self._backup[name])  # type: ignore[index]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[misc]
        for name, value in self._settings().items():
            destination[prefix + name] = value

    def _settings(self) -> dict[str, Tensor]:
        geometry, scale = self._geometry, self.learning.scale
        numbers = [*geometry.kernel, *geometry.stride, *geometry.dilation, *geometry.padding]
        course = self._time_course
        values = course.values(self._number_of_spikes) if isinstance(course, TimeCourse) else course
        return {
            "geometry": torch.tensor(numbers, dtype=torch.int64),
            "number_of_spikes": torch.tensor([self._number_of_spikes, self._eval_number_of_spikes or 0]),
            "epsilon_t": values.clone(),
            "epsilon_0": torch.tensor(self._epsilon_0, dtype=torch.float64),
            "gradient_scale": torch.tensor([scale.seen, scale.largest], dtype=torch.float64),
        }

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        found = {name: state_dict.pop(prefix + name, None) for name in self._settings()}
        missing_keys.extend(prefix + name for name, value in found.items() if value is None)
        shape = state_dict.get(prefix + "_epsilon_xy")
        if shape is not None and tuple(shape.shape) == (*self._epsilon_xy.shape[:2], *self._geometry.kernel):
            self._epsilon_xy = torch.nn.Parameter(
                self._epsilon_xy.new_empty(shape.shape), self._epsilon_xy.requires_grad
            )
        super()._load_from_state_dict(  # type: ignore[misc]
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        geometry, here = found["geometry"], self._settings()["geometry"]
        if geometry is not None and geometry.tolist() != here.tolist():
            error_msgs.append(
                f"{prefix}geometry (kernel, stride, dilation, padding) is {geometry.tolist()} in the state "
                f"and {here.tolist()} here"
            )
            return
        self._take_settings(found)

    def _take_settings(self, found: dict[str, Tensor | None]) -> None:
        if (spikes := found["number_of_spikes"]) is not None:
            training, evaluation = spikes.tolist()
            self._number_of_spikes = training
            self._eval_number_of_spikes = evaluation or None
        if (course := found["epsilon_t"]) is not None and not torch.equal(
            course.cpu(), self._settings()["epsilon_t"]
        ):
            self._time_course = as_time_course(course.cpu())
        if (epsilon_0 := found["epsilon_0"]) is not None:
            self.epsilon_0 = epsilon_0
        if (scale := found["gradient_scale"]) is not None:
            self.learning.scale.seen, self.learning.scale.largest = int(scale[0]), float(scale[1])
