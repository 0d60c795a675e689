"""The regression gate: reruns what a baseline file describes and says, cell by cell, what came out otherwise."""
