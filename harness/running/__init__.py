"""One run: data prepared once, then cell by cell a fit under the clock, an evaluation, and a record."""
