"""Deliberate faults of the product, each of which the tests must find: who watches the watchmen."""
