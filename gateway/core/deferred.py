"""Which results of one partition are left in Kafka, and whose later results wait for them."""

from __future__ import annotations


class Deferred:
    """No later result of a job is delivered before an earlier one that was deferred.

    Deferring one result defers its job: until the partition has been sought back and the deferred
    result read again, every later result of that job (of that target) is deferred too, whatever
    its operation. Kept by target, because targets recover one by one.
    """

    def __init__(self) -> None:
        self._lowest: dict[str, int] = {}
        self._jobs: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._lowest)

    def targets(self) -> set[str]:
        """Targets of which something is deferred here."""
        return set(self._lowest)

    def add(self, target: str, job_id: str, offset: int) -> None:
        self._lowest[target] = min(offset, self._lowest.get(target, offset))
        self._jobs.setdefault(target, set()).add(job_id)

    def blocks(self, target: str, job_id: str) -> bool:
        """Is an earlier result of this job deferred, and not read again since?"""
        jobs = self._jobs.get(target)
        return jobs is not None and job_id in jobs

    def take_back(self, target: str) -> int | None:
        """The offset to read from again, for everything of this target; None if there is nothing.
        From here on its jobs block nobody: whoever asks must seek there at once."""
        self._jobs.pop(target, None)
        return self._lowest.pop(target, None)
