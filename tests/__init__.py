"""The tests mirror the package; helpers stand beside the tests that use them."""
