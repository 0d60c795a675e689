"""`harness leaderboard`: keep the results of runs, and show them as a site."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.api import HarnessError, home

app = typer.Typer(
    help="Keep the results of runs as records, and show them as a static site.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Records = Annotated[
    Path, typer.Option(parser=home, metavar="PATH", help="Folder of the records, to be kept under version control.")
]
RECORDS = Path("leaderboards/records")


class WandbMode(StrEnum):
    """How W&B is used."""

    disabled = "disabled"
    offline = "offline"
    online = "online"


@app.command()
def add(
    runs: Annotated[
        list[Path], typer.Argument(parser=home, metavar="RUN_DIR...", help="The --out of finished comparisons.")
    ],
    records: Records = RECORDS,
    samples: Annotated[
        int, typer.Option(min=0, help="Answers kept per method and task; they hold what users wrote, 0 keeps none.")
    ] = 3,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite another result of the same run.")] = False,
    wandb: Annotated[
        WandbMode, typer.Option(help="Log the record as an artifact made from the run's: offline or online.")
    ] = WandbMode.disabled,
) -> None:
    """Write a run's record. Adding the same run again changes nothing."""
    from harness.leaderboards.lineage import log_record
    from harness.leaderboards.recording import add as add_run

    added = []
    for run in runs:
        path, outcome = add_run(run, records, samples, replace)
        typer.echo(f"{outcome}: {path}")
        added.append((path, run))
    faults = []
    for path, run in added:
        try:
            log_record(path, run, wandb.value)
        except HarnessError as error:  # the other records may be taken yet
            faults.append(str(error))
    if faults:
        raise HarnessError("\n".join(faults))


@app.command()
def build(
    out: Annotated[Path, typer.Option(parser=home, metavar="PATH", help="Folder of the site.")] = Path("site"),
    records: Records = RECORDS,
) -> None:
    """Write the site: static files that need no server and no network. Open index.html."""
    from harness.leaderboards.site import build as build_site

    build_site(records, out)
    typer.echo(f"Built {out / 'index.html'}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    out: Annotated[Path | None, typer.Option(parser=home, metavar="PATH", help="Keep the site in this folder.")] = None,
    records: Records = RECORDS,
) -> None:
    """Build the site and show it on this machine until Ctrl-C."""
    from harness.leaderboards.serving import serve as serve_site

    serve_site(records, out, port)
