"""Would other fits have come out so? How a difference varies with the users and, given several seeds, with the fits.

A fit moves the scores of all users at once, so that a test over users alone calls the luck of a fit a difference
between methods, the surer the more users there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.analysis.stats import TOLERANCE, Floats, Value

_DEEPEST = -20.0  # standard normal quantile of the smallest level told apart from 0, about 1e-89


@dataclass(frozen=True)
class Spread:
    """Standard errors of a difference over `users` and over `fits`, of which 0 where no fit came out otherwise.

    Users and fits are crossed random effects. What depends on both counts in either part, which errs on the side of
    caution.
    """

    over_users: float
    users: int
    over_fits: float = 0.0
    fits: int = 1

    @property
    def of_users(self) -> Spread:
        """What of it is over users."""
        return Spread(self.over_users, self.users)

    @property
    def error(self) -> float:
        """The standard error over both."""
        return math.hypot(self.over_users, self.over_fits)

    def quantile(self, level: float) -> float:
        """What a difference without any cause exceeds, in standard errors, with probability 1 - `level`.

        Student's t, which has far fewer degrees of freedom over a few fits than over many users: the mean of both,
        weighted with the squared standard errors (Cochran and Cox 1950).
        """
        from scipy.special import stdtrit

        parts = [(self.over_users, self.users - 1), (self.over_fits, self.fits - 1)]
        found = sum(error**2 * stdtrit(freedom, level) for error, freedom in parts if error)
        return float(found) / self.error**2

    def below(self, difference: float) -> float:
        """The probability of a difference this small or smaller where there is none."""
        from scipy.optimize import brentq
        from scipy.special import ndtr

        scaled = -abs(difference) / self.error
        if scaled <= self.quantile(float(ndtr(_DEEPEST))):
            tail = 0.0
        else:
            tail = float(ndtr(brentq(lambda z: self.quantile(float(ndtr(z))) - scaled, _DEEPEST, 0.0)))
        return tail if difference < 0 else 1 - tail

    def p_value(self, difference: float) -> float:
        """Two-sided."""
        return 2 * self.below(-abs(difference))


def over_fits(a: Floats, b: Floats, value: Value) -> float:
    """Standard error over fits of a difference in `value` of the means of statistics [F, n, S], F at least 2.

    Fits of one seed are a pair: they met the same users in the same order.
    """
    differences = value(np.nanmean(a, axis=1)) - value(np.nanmean(b, axis=1))
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return error if error > TOLERANCE else 0.0
