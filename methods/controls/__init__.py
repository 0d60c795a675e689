"""Controls: what a result has to beat before it means that personalization, or the direction found, did the work."""
