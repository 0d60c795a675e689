"""`harness methods`: what can be compared."""

from __future__ import annotations

from harness.commands.listing import AsJson, print_listing
from harness.registry import CONTROLS, METHODS


def methods(as_json: AsJson = False) -> None:
    """List the methods; controls are run by name or with --methods all,controls."""
    print_listing({"method": METHODS, "control": CONTROLS}, as_json)
