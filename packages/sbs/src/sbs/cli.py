"""The command line: ``sbs train``, ``test``, ``spikes``, ``show``, ``convert``, ``info``, ``reproduce``."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import tyro
from reprokit import UserError
from reprokit.cli import run
from reprokit.terminal import say

from sbs import commands
from sbs import convert as conversion
from sbs.config import Profile, TrainConfig, read_toml, with_profile
from sbs.formats.original_config import Dialect, read_original
from sbs.formats.translate import from_original
from sbs.presets import PRESETS, preset

USAGE = """usage: sbs COMMAND ...

  train CONFIG      train a network; CONFIG is a preset, our .toml or the original's .json
  test RUN          classify the test images with a trained network
  spikes RUN        accuracy against the number of spikes, as a table and a figure
  show RUN          figures of filters, h maps and reconstruction
  convert WHAT ...  the original's .npy weights and data sets, in and out
  reproduce         repeat the published results
  info              engine, vector instructions, threads and versions

sbs COMMAND --help explains each."""

TRAIN_USAGE = f"""usage: sbs train CONFIG [--out RUN] [flags]

CONFIG is a preset ({", ".join(PRESETS)}), a .toml file or the original's .json.
--profile faithful keeps the original's quirks; --dialect v1|v1.1 says which state of it wrote a .json.
Every value of the configuration is a flag: sbs train digits-smoke --help"""

Arguments = TypeVar("Arguments")


@dataclass(frozen=True)
class TrainArguments(TrainConfig):
    """Train a network; the same command again continues an interrupted run.

    Attributes:
        out: Run directory; "" takes runs/<name>.
        tensorboard: Also write TensorBoard events (extra "tensorboard").
    """

    out: str = ""
    tensorboard: bool = False


def train(arguments: list[str]) -> None:
    """Handle ``sbs train CONFIG [flags]``."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say(TRAIN_USAGE)
        return
    source, *flags = arguments
    config, flags = load_config(source, flags)
    default = TrainArguments(**_fields(config))
    chosen = tyro.cli(TrainArguments, default=default, args=flags, prog=f"sbs train {source}")
    config = TrainConfig(
        **{name: value for name, value in _fields(chosen).items() if name in _fields(config)}
    )
    commands.train(config, Path(chosen.out or f"runs/{config.name}"), chosen.tensorboard)


def load_config(source: str, flags: list[str]) -> tuple[TrainConfig, list[str]]:
    """Return the configuration of a preset or file, and the flags that are left to read.

    ``--profile`` and ``--dialect`` decide how a file is understood, so they are looked at first.
    """
    path = Path(source)
    profile, flags = _take(flags, "--profile", get_args(Profile))
    if path.suffix == ".json":
        dialect, flags = _take(flags, "--dialect", get_args(Dialect))
        original = read_original(path, dialect)  # type: ignore[arg-type]
        if not original.learning_parameters.learning_active:  # DEV-26: the original silently did nothing
            raise UserError(f"{path}: learning_active is false; there is nothing to train, use sbs test")
        config, notes = from_original(original, path.stem, profile or "fixed")  # type: ignore[arg-type]
        for note in notes:
            say(f"note: {note}")
        return config, flags
    config = read_toml(path) if path.suffix == ".toml" else preset(source)
    if profile:
        config = dataclasses.replace(config, profile=profile)  # type: ignore[arg-type]
    return with_profile(config), flags


def _take(flags: list[str], name: str, allowed: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """Cut one flag with its value out of the list."""
    for index, flag in enumerate(flags):
        if flag == name or flag.startswith(name + "="):
            inline = flag.partition("=")[2]
            value = inline if "=" in flag else "".join(flags[index + 1 : index + 2])
            if value not in allowed:
                raise UserError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
            return value, flags[:index] + flags[index + (1 if "=" in flag else 2) :]
    return None, flags


def _fields(config: TrainConfig) -> dict[str, Any]:
    return {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}


def _command(
    kind: type[Arguments], handler: Callable[[Arguments], None], name: str
) -> Callable[[list[str]], None]:
    return lambda arguments: handler(tyro.cli(kind, args=arguments, prog=f"sbs {name}"))


def convert(arguments: list[str]) -> None:
    """Handle ``sbs convert export|import|npz|data ...``."""
    kinds = {
        "export": (conversion.Export, conversion.export),
        "import": (conversion.Import, conversion.import_weights),
        "data": (conversion.ConvertData, conversion.convert_data),
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        say(conversion.CONVERT_USAGE)
        return
    if arguments[0] not in kinds:
        raise UserError(f"sbs convert {arguments[0]!r} is unknown; choose one of {', '.join(kinds)}")
    kind, handler = kinds[arguments[0]]
    handler(tyro.cli(kind, args=arguments[1:], prog=f"sbs convert {arguments[0]}"))


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "test": _command(commands.Test, commands.test, "test"),
    "spikes": _command(commands.Spikes, commands.spikes, "spikes"),
    "show": _command(commands.Show, commands.show, "show"),
    "convert": convert,
    "reproduce": _command(commands.Reproduce, commands.reproduce, "reproduce"),
    "info": _command(commands.Info, commands.info, "info"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)

    def dispatch() -> None:
        if not given or given[0] in ("-h", "--help"):
            say(USAGE)
        elif given[0] not in COMMANDS:
            raise UserError(f"sbs {given[0]!r} is no command; choose one of {', '.join(COMMANDS)}")
        else:
            COMMANDS[given[0]](given[1:])

    return run(dispatch)
