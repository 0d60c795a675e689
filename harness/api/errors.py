"""What a caller catches: faults that the user can mend, and time that is up."""

from __future__ import annotations


class HarnessError(Exception):
    """A fault the user can mend: the message says what was wrong, where, and what to do. The CLI exits with 2."""


class MissingError(HarnessError, FileNotFoundError):
    """The source has no such task or split, or no answers to it, as opposed to a broken one."""


class OutOfTime(Exception):
    """A model call passed its deadline and was given up: nothing of it is kept. Whoever sets a deadline catches it."""
