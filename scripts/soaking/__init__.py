"""The parts of `make soak`: traffic, faults, measurements."""
