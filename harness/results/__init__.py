"""What a run leaves: the records of its cells, stored atomically, and where they were made."""
