"""The simulation: the shipped tails, readers and logs, in a world of faults on virtual time."""
