"""Bugs that others shipped, each as a test of ours (the list is in tests/mutations too)."""
