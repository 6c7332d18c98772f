"""Which way the next attempt goes: the lean one, or the reference way, which is botocore's own.

    lean ─► refused, perhaps its own doing ─► the same delivery, at once, the reference way
                                                │
       such refusals are believed until the ◄───┤ refused likewise: the lean call is innocent
       lean call is understood again            │
       all go the reference way for a while ◄───┘ understood: the lean call is to blame

So no account halts, and no result is dead-lettered, for a fault of the lean call; and a clock that
is wrong costs one call more a delivery, not two for ever.
"""

from __future__ import annotations

from gateway.core.model import Failure, JobResult, Operation, Verdict
from gateway.core.retry import DOUBTFUL, is_throttle, verdict

DISTRUST_SECONDS = 600.0
"""Long enough to cost next to nothing if the lean call is broken, short enough to cost next to
nothing if it was only unlucky: credentials that were rotated between two attempts, for example."""
MOST_DOUBTS = 10_000
"""More than can be under way at once. What is forgotten is only tried the lean way once more."""

_UNDERSTOOD = frozenset({Verdict.ENDED, Verdict.UNKNOWN_JOB, Verdict.EVENT_FAULT})

Delivered = tuple[Operation, str, bytes]


class LeanTrust:
    """Whether the lean way of one target may be gone. A refusal that complains of the request is
    never believed before the reference way has heard one like it.

    Moments are seconds of any clock that does not jump.
    """

    def __init__(self) -> None:
        self._doubts: dict[Delivered, str] = {}
        self._believed: set[str] = set()
        self._distrusted_until = float("-inf")

    def may_go_lean(self, result: JobResult, now: float) -> bool:
        is_doubted = bool(self._doubts) and _delivered(result) in self._doubts
        return now >= self._distrusted_until and not is_doubted

    def is_doubtful(self, result: JobResult, failure: Failure | None) -> bool:
        """To be told how every attempt that went lean has ended. True: its refusal is not to be
        believed yet, and the next attempt of this delivery will go the reference way."""
        if failure is None or not _complains_of_the_request(failure):
            if _is_understood(failure):
                self._believed.clear()
            return False
        if failure.code in self._believed:
            return False
        if len(self._doubts) >= MOST_DOUBTS:
            del self._doubts[next(iter(self._doubts))]
        self._doubts[_delivered(result)] = failure.code
        return True

    def refuted(self, result: JobResult, failure: Failure | None, now: float) -> str | None:
        """To be told how every attempt that went the reference way has ended. The code of the
        lean refusal that it has shown to be the lean call's own fault, if that is news."""
        doubt = self._doubts.get(_delivered(result)) if self._doubts else None
        if doubt is None or (failure is not None and _is_no_answer(failure)):
            return None
        del self._doubts[_delivered(result)]
        if failure is not None and _complains_of_the_request(failure):
            self._believed |= {doubt, failure.code}
            return None
        is_news = _is_understood(failure) and now >= self._distrusted_until
        if is_news:
            self._distrusted_until = now + DISTRUST_SECONDS
        return doubt if is_news else None


def _delivered(result: JobResult) -> Delivered:
    return result.operation, result.job_id, result.digest


def _complains_of_the_request(failure: Failure) -> bool:
    return failure.code in DOUBTFUL and failure.foreign_operation is None


def _is_understood(failure: Failure | None) -> bool:
    """AWS knew who was calling, and what for."""
    return failure is None or verdict(failure) in _UNDERSTOOD


def _is_no_answer(failure: Failure) -> bool:
    is_silence = failure.status is None or failure.foreign_operation is not None
    return is_silence or failure.is_unknown or is_throttle(failure)
