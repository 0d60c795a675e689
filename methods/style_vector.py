"""StyleVector (Zhang et al. 2025): what sets a user's texts apart from style-free ones of the same content, added."""

from typing import ClassVar

from harness.methods.caa import Caa


class StyleVector(Caa):
    """Adds a vector per user: the user's answers minus what the model writes without the history (StyleVector).

    Users are taken as the clock allows, a batch of examples at a time; those without a pair get the base prompt alone.
    The publication averages over all of a user's history; here the pairs are those that the run's `supervision` gives.
    As CAA's, it reads and edits the residual stream, and that from the prompt's last token on: `site` "block",
    `edit_positions` "answer".
    """

    personal: ClassVar[bool] = True
