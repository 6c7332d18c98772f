"""PRETEND: an honest fake world, for the demo, the tests and users' own tests."""
