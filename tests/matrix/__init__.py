"""The fault matrix: fault, phase of the turn and outcome. One table that is tested and printed."""
