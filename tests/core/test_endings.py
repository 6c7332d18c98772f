from __future__ import annotations

from gateway.core.endings import Ending, Endings
from gateway.core.model import Claim, JobResult, Operation, Source

SOURCE = Source("job-results", 3, 12_345_678_901)


def result(job_id: str = "j", claim: Claim = Claim.SUCCEEDED, digest: bytes = b"d" * 16):
    return JobResult(Operation.JOB_SUCCESS, job_id, claim, b"{}", digest)


def test_an_acceptance_is_remembered_whole():
    endings = Endings(100)
    endings.learn_accepted("one", result(), SOURCE)
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, b"d" * 16, SOURCE)


def test_an_ending_belongs_to_one_target():
    endings = Endings(100)
    endings.learn_accepted("one", result(), SOURCE)
    assert endings.of("two", "j") is None


def test_a_source_is_remembered_only_when_given():
    endings = Endings(100)
    endings.learn_accepted("one", result(), None)
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, b"d" * 16, None)


def test_an_acceptance_is_never_overwritten_by_less():
    endings = Endings(100)
    endings.learn_accepted("one", result(), SOURCE)
    endings.learn_ended("one", "j", Source("job-results", 0, 1))
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, b"d" * 16, SOURCE)


def test_ended_unknown_how_carries_no_digest():
    endings = Endings(100)
    endings.learn_ended("one", "j", SOURCE)
    assert endings.of("one", "j") == Ending(None, None, SOURCE)
    endings.learn_accepted("one", result(), SOURCE)
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, b"d" * 16, SOURCE)


def test_never_more_than_its_capacity_and_the_newest_half_for_certain():
    endings = Endings(100)
    for number in range(1000):
        endings.learn_accepted("one", result(str(number)), SOURCE)
        assert len(endings) <= 100
        for recent in range(max(0, number - 49), number + 1):
            assert endings.of("one", str(recent)) is not None
    assert endings.of("one", "0") is None


def test_a_target_is_proven_by_its_first_acceptance():
    endings = Endings(100)
    assert not endings.is_proven("one")
    endings.learn_ended("one", "j", SOURCE)
    assert not endings.is_proven("one")
    endings.learn_accepted("one", result(), SOURCE)
    assert endings.is_proven("one")
    assert not endings.is_proven("two")
