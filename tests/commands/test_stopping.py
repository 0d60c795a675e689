"""SIGTERM, Ctrl-C and a kill in the middle of a fit: what was finished stays, and the same command goes on."""

import contextlib
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.commands.app import app
from harness.results.store import Store
from tests.forking import command_line, forked

WAIT = 240  # seconds; a busy machine takes long to import the harness
COMPARE = (
    *("compare", "--methods", "instruct,chameleon,llm_rec", "--tasks", "lamp3", "--users", "2"),
    *("--budget", "600s", "--set", 'chameleon.ccs={"restarts": 2, "epochs": 20}', "--wandb", "disabled"),
    *("--out", "out"),
)


def held() -> None:
    """The command line, except that Chameleon's fit waits for a signal, which so comes surely within a fit."""
    from harness.methods.chameleon.method import Chameleon

    def fit(self, context):
        Path("fitting").touch()
        while True:
            signal.pause()

    Chameleon.fit = fit
    command_line()


def stop_while_fitting(folder: Path, command: tuple[str, ...], *signals: int, **options: object) -> tuple[int, str]:
    """(exit status, stderr) of a command that gets the signals while it fits Chameleon."""
    with forked(held, *command, cwd=folder, **options) as process:
        deadline = time.monotonic() + WAIT
        while process.running and not (folder / "fitting").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for number in signals:
            process.send_signal(number)
        return process.wait(WAIT), process.stderr


def harness(folder: Path, *command: str) -> None:
    """The same command line in this process, which has torch already."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.exception


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("undisturbed")
    harness(folder, *COMPARE)
    return Store(folder / "out")


@pytest.mark.parametrize(
    ("signals", "options", "status"),
    [
        ([signal.SIGTERM, signal.SIGTERM], {"sigint": signal.SIG_IGN}, 143),  # as `timeout` under nohup
        ([signal.SIGINT], {}, 130),
        ([signal.SIGKILL], {}, -signal.SIGKILL),
    ],
    ids=["SIGTERM twice, SIGINT ignored", "SIGINT", "SIGKILL"],
)
def test_a_stopped_run_can_be_read_and_goes_on_to_the_results_of_an_undisturbed_one(
    tmp_path, undisturbed, signals, options, status
):
    ended, said = stop_while_fitting(tmp_path, COMPARE, *signals, **options)
    assert ended == status, said
    assert "Traceback" not in said
    assert ("Interrupted. Repeat the same command" in said) == (status > 0)
    store = Store(tmp_path / "out")
    kept = {record.spec.method: record for record in store.records()}
    interrupted = {"chameleon": "interrupted"} if status > 0 else {}
    assert {name: record.status for name, record in kept.items()} == {"instruct": "complete", **interrupted}
    harness(tmp_path, "report", "out")
    harness(tmp_path, *COMPARE)
    assert [record.status for record in store.records()] == ["complete"] * 3
    assert kept["instruct"] in store.records()
    for record in undisturbed.records():
        pd.testing.assert_frame_equal(store.samples(record.spec), undisturbed.samples(record.spec))


GOES_ON = "Interrupted. Repeat the same command to go on where it stopped.\n"
BEGINS_AGAIN = "Interrupted. No cell is kept, and mine.json is as it was: the same command begins again.\n"


@pytest.mark.parametrize(
    ("command", "last"),
    [
        (("sweep", "sweep.yaml", "--wandb", "disabled"), GOES_ON),
        (("reproduce", "figure5", "--users", "2"), GOES_ON),
        (
            ("check", "--baseline", "mine.json", "--update", "--methods", "instruct,chameleon", "--users", "2"),
            BEGINS_AGAIN,
        ),
    ],
    ids=["sweep", "reproduce", "check"],
)
def test_every_command_that_fits_ends_on_sigterm_with_143_and_says_what_a_repetition_does(tmp_path, command, last):
    (tmp_path / "sweep.yaml").write_text(
        "parameters: {methods: {value: 'instruct,chameleon'}, tasks: {value: lamp3}, users: {value: 2}}"
    )
    ended, said = stop_while_fitting(tmp_path, command, signal.SIGTERM)
    assert ended == 143, said
    assert said.endswith(last)
    assert "Traceback" not in said
