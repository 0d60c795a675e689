"""Cells computed elsewhere than in the calling process."""
