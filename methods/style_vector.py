"""StyleVector (Zhang et al. 2025): what sets a user's texts apart from style-free ones of the same content, added."""

from typing import ClassVar

from harness.methods.caa import Caa


class StyleVector(Caa):
    """A vector per user: the mean difference of the user's answers and the model's, which writes without the history.

    Users as the clock allows, a batch of examples at a time; those without a pair get the base prompt alone.
    """

    personal: ClassVar[bool] = True
