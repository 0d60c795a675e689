"""One honest sentence per claim: the verdict, by which test, and what this sample could have told."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.comparison import ALPHA
from harness.formatting import listed, p_value, plain, rounded, signed
from harness.reproduction.result import ClaimResult, ClaimTest


def sentence(claim: ClaimResult) -> str:
    """`Not supported on tiny-llama: "..." (Section 4.2). ...`"""
    said = f'{claim.verdict.capitalize()} on {claim.model} and these data: "{claim.quote}" ({claim.source}).'
    parts = [said, _counts(claim.tests), _decisive(claim)]
    if claim.missing:
        parts.append(f"Answers are lacking for {listed(claim.missing)}.")
    if claim.reservations:
        parts.append(f"But {listed(claim.reservations)}: this says little about personalization.")
    return plain(" ".join(part for part in parts if part))


def qualified(text: str, claim: ClaimResult) -> str:
    """`supported, but 100% of the answers of chameleon at 20 on lamp7 could not be read`."""
    return f"{text}, but {listed(claim.reservations)}" if claim.reservations else text


def meaning(claim: ClaimResult) -> str:
    """As what the quote is tested: `chameleon above instruct and aloe`."""
    better = {placed(test.a, test.a_tick if test.a_tick != test.b_tick else "") for test in claim.tests}
    trends = [test.a for test in claim.tests if test.kind == "trend"]
    if trends:
        return f"{listed(list(dict.fromkeys(trends)))} better along the axis"
    than = {placed(test.b, test.b_tick if test.a_tick != test.b_tick else "") for test in claim.tests}
    return f"{listed(sorted(better))} above {listed(sorted(than))}" if better else ""


def subject(test: ClaimTest) -> str:
    """`chameleon at 100 against chameleon at 1 on lamp2 accuracy`."""
    if test.kind == "trend":
        return f"the trend of {test.a} over the axis on {test.task} {test.metric}"
    what = f"{test.task} {test.metric}" + (f", as improvements on {test.over} there" if test.over else "")
    return f"{placed(test.a, test.a_tick)} against {placed(test.b, test.b_tick)} on {what}"


def method(test: ClaimTest) -> str:
    """The test's name."""
    if test.kind == "trend":
        return "Page's trend test"
    over_fits = "" if test.p_fits is None else f" and the one over users and {test.fits} fits"
    return f"the paired permutation test{over_fits}"


def placed(label: str, tick: str) -> str:
    """`chameleon at 20`; the label alone where there is no axis."""
    return f"{label} at {tick}" if tick else label


def _counts(tests: Sequence[ClaimTest]) -> str:
    """How the comparisons came out, where there is more than one."""
    if len(tests) < 2:
        return ""
    won = sum(test.verdict == "supported" for test in tests)
    lost = sum(test.p_holm < ALPHA and test.gain <= 0 for test in tests)
    null = len(tests) - won - lost
    return f"Of {len(tests)} comparisons {won} go its way beyond chance, {lost} the other way, {null} neither."


def _decisive(claim: ClaimResult) -> str:
    """The comparison on which the verdict rests: the weakest of a supported claim, the strongest against it else."""
    deciding = [test for test in claim.tests if test.verdict == claim.verdict]
    if not deciding:
        return ""
    test = max(deciding, key=lambda t: t.p_holm) if claim.verdict == "supported" else min(deciding, key=_against)
    lead = "Deciding:" if len(claim.tests) > 1 else "It rests on"
    return f"{lead} {subject(test)}: {outcome(test)}."


def _against(test: ClaimTest) -> tuple[bool, float]:
    return test.p_holm >= ALPHA, test.p_holm if test.p_holm < ALPHA else test.gain


def outcome(test: ClaimTest) -> str:
    """Gain, p, minimum detectable difference and, where there is one, the paper's own gain."""
    p = f"{p_value(test.p_holm)} by {method(test)}, Holm over {test.tests} tests, {test.users} users"
    if test.identical:
        return f"every query scored the same ({p})"
    size = f"Page's L {test.gain:+.4g} from chance" if test.kind == "trend" else f"gain {signed(test.gain)}"
    parts = [f"{size}, {p}"]
    if test.minimum_detectable is not None:
        parts.append(f"minimum detectable {rounded(test.minimum_detectable)}")
    elif test.kind == "pair" and test.p_holm >= ALPHA:
        parts.append("too few users score otherwise for a minimum detectable difference")
    if test.reported_gain is not None:
        parts.append(f"reported gain {signed(test.reported_gain)}{_ruled_out(test)}")
    elif test.p_holm >= ALPHA:
        parts.append("no reported size to hold it against")
    return "; ".join(parts)


def _ruled_out(test: ClaimTest) -> str:
    """Whether a null is too small for the reported gain."""
    if test.p_reported is None or test.p_holm < ALPHA:
        return ""
    return f", {'' if test.p_reported < ALPHA else 'not '}ruled out ({p_value(test.p_reported)} if it were true)"
