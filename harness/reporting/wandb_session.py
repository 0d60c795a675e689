"""Opening a Weights & Biases run: faults are found before the work where they can be; later ones cost no results."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from harness.api import HarnessError

if TYPE_CHECKING:
    import pandas as pd
    import wandb

Mode = Literal["disabled", "offline", "online"]
PROJECT = "personalization-harness"  # unless WANDB_PROJECT names another
FINISH_SECONDS = 1800.0  # after which an upload that does not come to an end is given up; the files stay
_OTHER_NAMES = {"dryrun": "offline", "run": "online"}  # that WANDB_MODE may have
_ENTITY = re.compile(r"[\w.-]{1,128}")
_ADVICE = "or use --wandb offline: it needs no account and no network."


def mode_named(text: str) -> str:
    """The mode, if it is one, that a user or WANDB_MODE wrote as `text`."""
    return _OTHER_NAMES.get(text, text)


def require_mode(text: str) -> Mode:
    """The mode of that name, or of one that WANDB_MODE uses for it.

    Raises HarnessError before any work is done: for another name, for settings in WANDB_* variables that W&B refuses,
    and, online, without a key that the server accepts. `disabled` asks nothing, `offline` asks no server.
    """
    mode = mode_named(text)
    if mode not in get_args(Mode):
        raise HarnessError(f"Unknown W&B mode '{text}'. Give --wandb, or WANDB_MODE, {', '.join(get_args(Mode))}.")
    if mode != "disabled":
        _require_settings()
    if mode == "online":
        _require_key()
    return cast(Mode, mode)


def log_run(
    out: Path, mode: Mode, config: dict[str, Any], log: Callable[[wandb.Run], None], kind: str | None = None
) -> Path | None:
    """Open a run whose files stand in OUT/wandb, `log` into it and close it; the folder of a complete offline run.

    All results are on disk by then, so that whatever W&B raises is a warning. Of an online run that fails an offline
    one is made, to be sent later.
    """
    try:
        with _opened(out, mode, config, kind) as run:
            folder = Path(run.dir).parent
            log(run)
    except Exception as error:  # W&B's own errors, its service's, the network's, the disk's
        offline = ""
        if mode == "online" and (kept := _log_offline(out, config, log, kind)):
            offline = f" The run stands in {kept}; `wandb sync {kept}` sends it."
        text = f"W&B did not take the run: {_reason(error)} The results are complete in {out}.{offline}"
        warnings.warn(text, stacklevel=3)
        return None
    return folder if mode == "offline" else None


def wandb_table(frame: pd.DataFrame) -> wandb.Table:
    """A table of W&B, whose cells are empty where a value is missing."""
    import wandb

    data = frame.astype(object).where(frame.notna(), None)
    return wandb.Table(columns=list(data.columns), data=data.to_numpy())


def _log_offline(out: Path, config: dict[str, Any], log: Callable[[wandb.Run], None], kind: str | None) -> Path | None:
    try:
        with _opened(out, "offline", config, kind) as run:
            folder = Path(run.dir).parent
            log(run)
    except Exception:  # the first fault has been told
        return None
    return folder


@contextmanager
def _opened(out: Path, mode: Mode, config: dict[str, Any], kind: str | None) -> Iterator[wandb.Run]:
    wandb = _import()
    with (
        _folders(out.resolve() / "wandb"),
        wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=out.resolve().name,
            dir=str(out.resolve()),  # a process of W&B that was there before may stand in another folder
            mode=mode,
            config=config,
            job_type=kind,
            reinit="create_new",  # a run that the caller has open stays as it is
            save_code=False,
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                disable_job_creation=True,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        ) as run,
    ):
        yield run


def _import() -> Any:
    # W&B reports its use to its server, offline too, unless it is told not to before it is first used.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def _require_settings() -> None:
    wandb = _import()
    try:
        settings = wandb.Settings()
        settings.update_from_env_vars(dict(os.environ))
    except (wandb.errors.Error, ValueError) as error:
        raise HarnessError(f"W&B refuses a WANDB_* variable: {_reason(error)} Change or unset it.") from error
    if settings.entity and not _ENTITY.fullmatch(settings.entity):
        raise HarnessError(
            f"WANDB_ENTITY is '{settings.entity}', which is no name of a user or team: they have letters, digits, "
            "'-', '_' and '.'. Change or unset it; the project's name goes into WANDB_PROJECT."
        )


def _require_key() -> None:
    wandb = _import()
    try:
        wandb.setup(settings=wandb.Settings(mode="online"))  # --wandb counts over WANDB_MODE
        known = wandb.login(prompt=False)
    except Exception as error:  # what W&B raises for a bad key, its service for no network
        raise HarnessError(
            f"W&B did not accept the key, or cannot be reached: {_reason(error)} Check both, {_ADVICE}"
        ) from error
    if not known:
        raise HarnessError(f"W&B has no API key. Run `wandb login` or set WANDB_API_KEY, {_ADVICE}")


def _reason(error: Exception) -> str:
    """On one line; of pydantic's errors the setting and what is wrong with it."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"{'; '.join(faults)}."
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith(".") else f"{text}."


@contextmanager
def _folders(root: Path) -> Iterator[None]:
    """Keep staged artifacts, caches and settings beside the run: an offline run is whole, and home may be read-only."""
    root.mkdir(parents=True, exist_ok=True)
    ours = {f"WANDB_{name}_DIR": str(root / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update({name: path for name, path in ours.items() if before[name] is None})
    try:
        yield
    finally:
        for name, path in before.items():
            if path is None:
                os.environ.pop(name, None)
