"""From cells to one comparison: statistics, paired tests, for whom and at what cost. Knows no screen."""
