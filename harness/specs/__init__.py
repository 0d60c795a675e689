"""What is asked of a run: its specification, and how it is made from what a user typed."""
