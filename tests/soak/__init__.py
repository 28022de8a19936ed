"""The soak: random turns under random faults, recorded by ranges of rounds."""
