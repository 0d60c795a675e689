"""What the libraries underneath print is no part of what a command, a worker or a function says."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partialmethod

_LOGGERS = ("lm_eval", "lm-eval", "sentence_transformers", "datasets", "transformers", "trl")


def quieten_libraries() -> None:
    """Keep the libraries' progress bars and routine notices out of the live view."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """`quieten_libraries`, bars of tqdm included, for as long as the context is open: the process is not ours."""
    import datasets
    import transformers
    from tqdm import tqdm

    with ExitStack() as after:
        after.enter_context(warnings.catch_warnings())
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            after.callback(logger.setLevel, logger.level)
        if transformers.utils.logging.is_progress_bar_enabled():
            after.callback(transformers.utils.logging.enable_progress_bar)
        if not datasets.are_progress_bars_disabled():
            after.callback(datasets.enable_progress_bars)
        own = vars(tqdm)["__init__"]
        after.callback(setattr, tqdm, "__init__", own)
        tqdm.__init__ = partialmethod(own, disable=True)
        quieten_libraries()
        yield
