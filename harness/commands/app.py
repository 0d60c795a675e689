"""The command line. Nothing heavy is imported before a command needs it: `harness --help` answers at once."""

from __future__ import annotations

import io
import signal
import sys
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from harness.api import HarnessError, printable
from harness.commands import (
    check,
    compare,
    data,
    doctor,
    export,
    inspect,
    methods,
    models,
    presets,
    report,
    reproduce,
    run,
    sweep,
    tasks,
)
from harness.registry import COMMANDS
from harness.results.disk import explain

_received: list[int] = []  # signals other than SIGINT that ended the command


class _Interruptible(TyperGroup):
    """Typer itself would answer every KeyboardInterrupt with status 130 and not a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            _end_interrupted(stop)


app = typer.Typer(
    name="harness",
    cls=_Interruptible,
    help="Compare LLM personalization methods under one wall-clock budget.\n\n"
    "Start with: harness compare --methods all --budget 20m",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"harness {version('personalization-harness')}")
        raise typer.Exit


@app.callback()
def _options(
    asked: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version, and stop.")
    ] = False,
) -> None:
    """What can be asked without a command."""


app.command()(compare.compare)
app.command()(sweep.sweep)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run.run)
app.command()(report.report)
app.command()(inspect.inspect)
app.command()(export.export)
app.command()(check.check)
app.command()(doctor.doctor)
app.command()(reproduce.reproduce)
app.command()(methods.methods)
app.command()(presets.presets)
app.add_typer(tasks.app, name="tasks")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


def _add_commands() -> None:
    """Let plug-ins add commands; one that cannot be imported costs its own commands only."""
    groups = {info.name: info.typer_instance for info in app.registered_groups}
    own = {info.callback.__name__ for info in app.registered_commands if info.callback}
    for name in COMMANDS.names():
        try:
            commands = COMMANDS.get(name)
            if name in own:
                raise HarnessError(f"The command '{name}', {COMMANDS.target(name)}, is left out: harness has its own.")
        except HarnessError as error:
            typer.echo(printable(f"Warning: {error}"), err=True)
            continue
        if group := groups.get(name):
            group.add_typer(commands)  # its commands join the group's own
        else:
            app.add_typer(commands, name=name)


def main() -> None:
    """Run the command line; a fault of the user's is one paragraph and exit status 2.

    SIGTERM, which schedulers and `timeout` send, ends a command as Ctrl-C does, with status 143 in place of 130.
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show must not end a command
    try:
        _add_commands()
        app()
    except HarnessError as error:
        typer.echo(printable(f"Error: {error}", keep="\n"), err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(printable(f"Error: {explain(error)}"), err=True)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        _end_interrupted(stop)


def _terminate(number: int, frame: FrameType | None) -> None:
    # `timeout` sends the signal twice: the second must not cut off the record of what the first interrupted.
    signal.signal(number, signal.SIG_IGN)
    _received.append(number)
    raise KeyboardInterrupt


def _end_interrupted(stop: KeyboardInterrupt) -> NoReturn:
    """A command that does not go on where it stopped raises with what holds for it."""
    what = str(stop) or "Repeat the same command to go on where it stopped."
    typer.echo(printable(f"Interrupted. {what}"), err=True)
    sys.exit(128 + (_received[0] if _received else signal.SIGINT))
