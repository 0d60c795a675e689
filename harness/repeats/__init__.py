"""Repeating a finished command: whether anything it was made from has changed, told before torch is imported."""
