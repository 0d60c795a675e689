"""What the libraries underneath print is no part of what a command or a worker says."""

import logging
import warnings


def quieten_libraries() -> None:
    """Keep the libraries' progress bars and routine notices out of the live view."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("lm_eval", "lm-eval", "sentence_transformers", "datasets", "transformers", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
