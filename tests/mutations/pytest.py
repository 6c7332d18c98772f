"""`python -m tests.mutations.pytest NAME FILE`: a test file, with one mutation planted."""

from __future__ import annotations

import sys

from tests.mutations.planting import plant

if __name__ == "__main__":
    plant(sys.argv[1])
    import pytest

    sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", sys.argv[2]]))
