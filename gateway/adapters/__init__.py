"""TOUCH: the only modules that meet the outside world."""
