"""One suite a port, run against the simulation and the real adapter alike."""
