"""One command line for all packages: commands with typed signatures, presets, and the common commands.

A command is a function; tyro turns its signature into flags. A parameter annotated with the program's
configuration class accepts all fields of that class as flags, and a first word CONFIG supplies their defaults: a
preset, a ``.toml`` file, or the ``config.json`` of a run. The class's own checks run after parsing, so a bad
value gives one sentence. Flags that take several values may be repeated: ``--only a --only b`` is ``--only a b``.

`App` adds the commands ``judge``, ``data`` and ``completion``, the flag ``--version``, and a hint for a
mistyped command.
"""

import dataclasses
import functools
import inspect
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from reprokit.cli.running import run
from reprokit.config import nearest, read_config_file
from reprokit.errors import UserError
from reprokit.terminal import say

Load = Callable[[str, list[str]], tuple[Any, list[str]]]


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a program: a function with parsed arguments, or one that takes the words as they are (`raw`)."""

    name: str
    function: Callable[..., Any]
    aliases: tuple[str, ...] = ()
    raw: bool = False
    program: str = ""

    @property
    def about(self) -> str:
        """The function's docstring without its sections."""
        text = inspect.cleandoc(self.function.__doc__ or "").replace("PROGRAM", self.program)
        return re.split(r"\n\n(?=Args:|Returns:|Raises:)", text)[0]

    @property
    def title(self) -> str:
        """The first paragraph of the docstring."""
        return " ".join(self.about.partition("\n\n")[0].split())


class App:
    """A command line.

    Args:
        name: The program, which is also the import name of its package.
        summary: One line that describes it.
        config: Its configuration, a frozen dataclass.
        presets: Configurations by name, for the word CONFIG.
        load: Reads CONFIG instead of the usual way: takes it and the words after it, returns the configuration
            and the remaining words.
        rewrite: Translates words of the original program; receives the whole command line.
        ignore: Keys of a run's ``config.json`` that are not settings.
        core: Names the engine, for ``--version``; must import neither torch nor jax.
        notes: Lines below the list of commands.
    """

    def __init__(
        self,
        name: str,
        *,
        summary: str,
        config: type[Any] | None = None,
        presets: Mapping[str, Any] | None = None,
        load: Load | None = None,
        rewrite: Callable[[list[str]], list[str]] | None = None,
        ignore: Sequence[str] = (),
        core: Callable[[], str] | None = None,
        notes: str = "",
    ) -> None:
        self.name, self.summary, self.notes = name, summary, notes
        self.config, self.presets, self.load = config, dict(presets or {}), load or self._load
        self.rewrite, self.ignore, self.core = rewrite, tuple(ignore), core
        self.commands: dict[str, Command] = {}

    def command(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        raw: bool = False,
    ) -> Any:
        """Register a function as a command; usable as ``@app.command`` and ``@app.command(name=...)``.

        Args:
            function: The command; its docstring is the help text, and a returned int is the exit code.
            name: Name on the command line; None: the function's name.
            aliases: Other names.
            raw: Pass the words on unparsed, as one list.
        """
        if function is None:
            return lambda f: self.command(f, name=name, aliases=aliases, raw=raw)
        known = name or function.__name__.removesuffix("_command").replace("_", "-")
        self.commands[known] = Command(known, function, tuple(aliases), raw)
        return function

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run the words after the program's name (None: this process's) and return the exit code, see `run`."""
        words = list(sys.argv[1:] if arguments is None else arguments)
        return run(lambda: self.dispatch(words))

    def dispatch(self, words: list[str]) -> Any:
        """Run a command line and return what the command returns; a UserError for an unknown command."""
        words = self.rewrite(words) if self.rewrite else words
        if not words or words[0] in ("-h", "--help", "help"):
            say(self.usage())
            return 0 if words else 2
        if words[0] == "--version":
            say("\n".join(self.version()))
            return 0
        commands = self._all()
        found = next((c for c in commands.values() if words[0] in (c.name, *c.aliases)), None)
        if found is None:
            raise UserError(
                f"{words[0]!r} is not a command of {self.name}{nearest(words[0], commands)}; see {self.name} --help"
            )
        if found.raw:
            return found.function(words[1:])
        return self._call(found, words[1:])

    def usage(self) -> str:
        """The text of ``--help``: every command with the first sentence of its docstring."""
        commands = self._all()
        width = max(map(len, commands))
        listed = [f"  {c.name:{width}}  {c.title}" for c in commands.values()]
        lines = [f"usage: {self.name} COMMAND [options]", "", self.summary, "", *listed, ""]
        lines.append(f"`{self.name} COMMAND --help` lists the options; `{self.name} --version` the versions.")
        return "\n".join([*lines, *([self.notes] if self.notes else [])])

    def version(self) -> list[str]:
        """The lines of ``--version``: package, reprokit, engine, commit; a line for a name installed twice."""
        from reprokit.run.provenance import git_commit, installed_twice, versions

        names = dict.fromkeys((self.name, "reprokit"))
        found = versions(names)
        lines = [f"{name} {found[name]}" for name in names]
        lines += [f"core: {self.core()}"] if self.core else []
        lines += [f"commit: {git_commit()}"]
        for name in names:
            if others := [owner for owner in installed_twice(name) if owner != f"brainrules-{name}"]:
                lines.append(
                    f"warning: {name} is also installed as {', '.join(others)}, and which one is imported is "
                    f"arbitrary; remove it, then install again: pip uninstall {' '.join(others)}"
                )
        return lines

    def _all(self) -> dict[str, Command]:
        """The program's commands, followed by the common ones."""
        common = [
            Command("data", self._data, raw=True),
            Command("judge", self._judge),
            Command("completion", self._completion, program=self.name),
        ]
        return self.commands | {c.name: c for c in common if c.name not in self.commands}

    def _data(self, words: list[str]) -> int:
        """List, fetch, verify and locate data sets."""
        from reprokit.cli.data import main

        return main(words, prog=f"{self.name} data")

    def _judge(
        self,
        claims: Path | None = None,
        results: Path | None = None,
        strict: bool = False,
        json: bool = False,
    ) -> int:
        """Compare measured results with this package's published numbers; exit code 1 if one fails.

        Args:
            claims: Claims file; none: reproduction/claims.toml in this folder or one above it.
            results: Folder from which the ledger paths start; none: the claims file's folder.
            strict: Exit code 1 also for verdicts unclean and reduced.
            json: Print one JSON object instead of the table.
        """
        return judge_claims(claims, results, package=self.name, strict=strict, json=json)

    def _completion(self, shell: tyro.conf.Positional[Literal["bash", "zsh"]]) -> None:
        """Print a completion script for a shell, for example: eval "$(PROGRAM completion bash)".

        Args:
            shell: bash or zsh.
        """
        app = tyro.extras.SubcommandApp()
        for command in self._all().values():
            function: Any = (lambda: None) if command.raw else self._typed(command, None)
            app.command(function, name=command.name, aliases=list(command.aliases))
        app.cli(prog=self.name, args=["--tyro-print-completion", shell])

    def _load(self, source: str, words: list[str]) -> tuple[Any, list[str]]:
        """Read CONFIG: a preset, a ``.toml`` file, or the ``config.json`` (or folder) of a run."""
        assert self.config is not None  # only called for commands with a configuration
        if source in self.presets:
            return self.presets[source], words
        path = Path(source)
        if path.is_dir():
            path = path / "config.json"
        if path.suffix not in (".toml", ".json"):
            hint = nearest(source, self.presets)
            raise UserError(
                f"CONFIG is {source!r}{hint}; name a preset ({', '.join(self.presets) or 'there are none'}), "
                "a .toml file, or the config.json of a run"
            )
        return read_config_file(self.config, path, ignore=self.ignore), words

    def _call(self, command: Command, words: list[str]) -> Any:
        """Parse the words after a command's name and call its function with checked values."""
        default, prog, about = None, f"{self.name} {command.name}", None
        if self.config in get_type_hints(command.function).values():
            if words and not words[0].startswith("-"):
                default, words = self.load(words[0], words[1:])
            presets = f"a preset ({', '.join(self.presets)}), " if self.presets else ""
            prog += " [CONFIG]"
            about = f"{command.about}\n\nCONFIG: {presets}a .toml file or the config.json of a run; flags override it."
        function = self._typed(command, default)
        words = join_repeated(words, set(_flags_of_many(function.__annotations__)))
        return self._parsed(function, words, prog, about or command.about)()

    def _parsed(
        self, function: Callable[..., Any], words: list[str], prog: str, about: str
    ) -> Callable[[], Any]:
        """Return the call that the words describe; tyro's boxed error becomes a UserError."""
        box = io.StringIO()
        try:
            with redirect_stderr(box):
                return tyro.cli(function, args=words, prog=prog, description=about)
        except SystemExit as stop:
            if not stop.code or not (sentence := _sentence_in(box.getvalue())):
                sys.stderr.write(box.getvalue())
                raise
            raise UserError(f"{sentence}; see {prog.removesuffix(' [CONFIG]')} --help") from None

    def _typed(self, command: Command, default: Any) -> Callable[..., Any]:
        """Return the function with a signature for tyro: dataclasses flat and unchecked."""
        signature = inspect.signature(command.function)
        hints = get_type_hints(command.function, include_extras=True)
        parameters: list[inspect.Parameter] = []
        groups: dict[str, type[Any]] = {}
        for parameter in signature.parameters.values():
            kind = hints[parameter.name]
            if dataclasses.is_dataclass(kind) and isinstance(kind, type):
                groups[parameter.name] = kind
                twin = unchecked(kind)
                start = parameter.default
                if default is not None and kind is self.config:
                    start = twin(**_fields(default))
                elif start is parameter.empty and all(
                    field.default is not field.empty for field in inspect.signature(kind).parameters.values()
                ):
                    start = twin()
                kind = Annotated[twin, tyro.conf.arg(name="")]
                parameter = parameter.replace(default=start)
            parameters.append(parameter.replace(annotation=kind))

        def call(*values: Any, **named: Any) -> Callable[[], Any]:
            bound = signature.bind(*values, **named)
            for name, kind in groups.items():
                bound.arguments[name] = kind(**_fields(bound.arguments[name]))
            return functools.partial(command.function, *bound.args, **bound.kwargs)

        call.__name__, call.__doc__ = command.function.__name__, command.function.__doc__
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call


def judge_claims(
    claims: tyro.conf.Positional[Path | None] = None,
    results: Path | None = None,
    package: str | None = None,
    strict: bool = False,
    json: bool = False,
) -> int:
    """Compare measured results with published numbers; exit code 1 if one fails, 2 if a file is damaged.

    Args:
        claims: Claims file; none: reproduction/claims.toml in this folder or one above it.
        results: Folder from which the ledger paths start; none: the claims file's folder.
        package: Judge the claims of this package only.
        strict: Exit code 1 also for verdicts unclean and reduced.
        json: Print one JSON object instead of the table.
    """
    from reprokit.claims.claims import find_claims, load_claims
    from reprokit.claims.table import as_json, format_verdicts
    from reprokit.claims.verdicts import judge

    file = claims or find_claims()
    chosen = [claim for claim in load_claims(file) if package in (None, claim.package)]
    verdicts = judge(chosen, results or file.parent)
    say(as_json(verdicts) if json else format_verdicts(verdicts))
    bad = ("fail", "unclean", "reduced") if strict else ("fail",)
    return int(any(verdict.status in bad for verdict in verdicts))


def unchecked(kind: type[Any]) -> type[Any]:
    """Return a dataclass equal to `kind` whose own checks do not run, so that parsing never stops halfway."""
    copied = {name: getattr(kind, name) for name in ("__doc__", "__module__", "__qualname__")}
    return type(kind.__name__, (kind,), {**copied, "__post_init__": lambda _: None})


def join_repeated(words: Sequence[str], flags: set[str]) -> list[str]:
    """Move the values of a repeated flag to its first appearance, so that none is dropped.

    With `flags` {"--only"}, ``--only a --jobs 2 --only b`` becomes ``--only a b --jobs 2``.
    """
    groups: list[list[str]] = [[]]  # each a flag and its values
    for word in words:
        if word.startswith("-") and not word[1:2].isdigit() and word[1:2] != ".":
            takes_many = word.partition("=")[0].replace("_", "-") in flags
            groups.append(word.split("=", 1) if takes_many else [word])
        else:
            groups[-1].append(word)
    first: dict[str, list[str]] = {}
    for group in groups:
        name = group[0].replace("_", "-") if group else ""
        if name in flags and first.setdefault(name, group) is not group:
            first[name] += group[1:]
            group.clear()
    return [word for group in groups for word in group]


def _flags_of_many(hints: Mapping[str, Any], start: str = "--", flat: bool = True) -> Iterator[str]:
    """Flags of a signature, those of its dataclasses included, that take several values."""
    for name, hint in hints.items():
        kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if dataclasses.is_dataclass(kind):
            inner = get_type_hints(kind, include_extras=True)
            yield from _flags_of_many(inner, start if flat else f"{start}{name}.", flat=False)
        elif any(get_origin(part) is list or ... in get_args(part) for part in (kind, *get_args(kind))):
            yield f"{start}{name}".replace("_", "-")


def _sentence_in(box: str) -> str:
    """The first part of the message in one of tyro's boxes, and the flag that it suggests."""
    lines = [line.strip(" │") for line in box.strip().splitlines()]
    rule = re.compile(r"[╭╰].*|[─-]{3,}")
    start = 1 if box.startswith("╭") else 2  # without Unicode there is no frame but a rule below the title
    said = " ".join(itertools.takewhile(lambda line: not rule.fullmatch(line), lines[start:]))
    meant = re.search(r"Perhaps you meant:\s+(--[\w.-]+)", "\n".join(lines))
    return said.rstrip(". ") + (f" (did you mean {meant[1]}?)" if said and meant else "")


def _fields(values: Any) -> dict[str, Any]:
    return {field.name: getattr(values, field.name) for field in dataclasses.fields(values) if field.init}
