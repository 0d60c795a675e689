"""Real models whose weights come inside a Python package: fetched once by name, offline afterwards."""
