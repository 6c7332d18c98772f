"""DECIDE: no I/O, no asyncio, no clock, no randomness, no logging, no configuration."""
