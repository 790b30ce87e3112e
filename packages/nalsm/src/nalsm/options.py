"""Settings of a run as a command line takes them: unchecked until all of it is read."""

from __future__ import annotations

from dataclasses import dataclass, fields

from reprokit import UserError

from nalsm.config import Config


@dataclass(frozen=True)
class Options(Config):
    """Settings of one run; config.json in its directory holds them all."""

    def __post_init__(self) -> None:
        """Nothing: values are checked after parsing, so that an error is one sentence."""

    def config(self) -> Config:
        """Return the checked configuration."""
        return Config(**{field.name: getattr(self, field.name) for field in fields(Config)})


def limit_threads(threads: int) -> None:
    """Give PyTorch as many threads as the liquid gets."""
    import torch

    if threads < 1:
        raise UserError(f"threads is {threads}; it must be 1 or more.")
    torch.set_num_threads(threads)
