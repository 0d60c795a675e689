"""SIGKILL one comparison at random moments, repeat the command each time, and compare what it ends in.

python benchmarks/crash_test.py --kills 25 --seed 0

An undisturbed run comes first. Then the same command runs in another folder and is killed, with all its processes, at
a moment drawn uniformly from the work of an undisturbed run; it is repeated in the same folder, and killed again. A run
that ends before its kill must have ended in the undisturbed `comparison.json`, times and attempts aside, and in the
same answers; the next kill then hits a new folder. Exit status 1 if anything differed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

MEASURED = {
    "fit_seconds",
    "eval_seconds",
    "likelihood_seconds",
    "marginal_seconds",
    "on_front",
    "peak_memory_bytes",
    "attempts",
}
COMMAND = [
    *("compare", "--methods", "instruct,user_majority,llm_rec,chameleon", "--tasks", "lamp2,lamp3"),
    *("--users", "4", "--budget", "30m", "--wandb", "disabled", "--save-fits"),
]
HARNESS = "from harness.commands.app import main; main()"
WORK_BEGINS = "Loading the model"  # the first line after the imports, where a kill would teach nothing
LONGEST = 1800.0  # seconds that a run may take before it counts as hung


def result(out: Path) -> Any:
    """`comparison.json` without what is measured in seconds, bytes of memory or attempts."""
    return _unmeasured(json.loads((out / "comparison.json").read_text(encoding="utf-8")))


def answers(out: Path) -> dict[str, str]:
    """Every cell's samples, by its folder, as text: a missing number equals another."""
    paths = sorted(out.glob("cells/*/*/*/samples.parquet"))
    return {
        str(path.parent.relative_to(out)): pd.read_parquet(path).to_json(orient="records", double_precision=15)
        for path in paths
    }


def differences(undisturbed: Path, out: Path) -> list[str]:
    """What a disturbed run came to otherwise than an undisturbed one; empty if nothing."""
    compared = (("comparison.json", result), ("answers", answers))
    return [f"{name} differs" for name, read in compared if read(out) != read(undisturbed)]


def _unmeasured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unmeasured(inner) for key, inner in value.items() if key not in MEASURED}
    return [_unmeasured(inner) for inner in value] if isinstance(value, list) else value


def start(arguments: Sequence[str], out: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own, past its imports."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", HARNESS, *arguments, "--out", str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if WORK_BEGINS in line:
            break
    return process


def finish(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether the command ends by itself in so many seconds; if not, its group is killed. RuntimeError if it failed."""
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        raise RuntimeError(f"the command ended with status {process.returncode}:\n{printed[-2000:]}")
    return True


def crash_test(folder: Path, kills: int, seed: int) -> int:
    """Print a line per kill and per comparison; 1 if anything differed."""
    moments = random.Random(seed)
    begun = time.monotonic()
    process = start(COMMAND, folder / "undisturbed")
    at_work = time.monotonic()
    finish(process, LONGEST)
    work = time.monotonic() - at_work
    print(f"undisturbed: {at_work - begun:.0f} s of imports, {work:.0f} s of work", flush=True)
    killed, rounds, faults = 0, 0, 0
    while True:
        out = folder / f"disturbed-{rounds}"
        last = killed >= kills
        moment = LONGEST if last else moments.uniform(0, work)
        if not finish(start(COMMAND, out), moment):
            if last:
                raise RuntimeError(f"{out} did not end in {LONGEST:g} s")
            killed += 1
            cells = len(list(out.glob("cells/*/*/*/cell.json")))
            print(f"kill {killed:>2} after {moment:5.1f} s of work, {cells} cells finished in {out.name}", flush=True)
            continue
        found = differences(folder / "undisturbed", out)
        faults += bool(found)
        rounds += 1
        print(f"{out.name} ended: {'; '.join(found) or 'as the undisturbed run'}", flush=True)
        if last:
            break
    print(f"{killed} kills, {rounds} runs that ended, {faults} of them differed, seed {seed}")
    return int(faults > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-test-") as scratch:
        sys.exit(crash_test(Path(scratch), given.kills, given.seed))
