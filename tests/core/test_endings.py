from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.endings import Ending, Endings, ToldEndings
from gateway.core.model import (
    Certainty,
    Claim,
    JobResult,
    Operation,
    Outcome,
    OutcomeKind,
    Source,
)

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


# -- what other processes tell ---------------------------------------------------------------------


def outcome(**changes) -> Outcome:
    plain = Outcome(
        kind=OutcomeKind.ACCEPTED,
        certainty=Certainty.CONFIRMED,
        source=SOURCE,
        time=0.0,
        target="one",
        job_id="j",
        operation=Operation.JOB_SUCCESS,
        claim=Claim.SUCCEEDED,
        digest=b"d" * 16,
    )
    return replace(plain, **changes)


def told(shares_digests: bool = True) -> tuple[Endings, ToldEndings]:
    endings = Endings(100)
    feed = ToldEndings(endings, ["one", "two"], ["job-results"], shares_digests=shares_digests)
    return endings, feed


def test_a_confirmed_acceptance_is_learned_whole_and_proves_its_target():
    endings, feed = told()
    assert feed.learn(outcome())
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, b"d" * 16, SOURCE)
    assert endings.is_proven("one")
    assert not feed.learn(outcome()), "it is no news any more"


def test_digests_of_another_key_are_not_compared():
    endings, feed = told(shares_digests=False)
    feed.learn(outcome())
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, None, SOURCE)


@pytest.mark.parametrize(
    "changes",
    [
        {"certainty": Certainty.INFERRED},
        {"kind": OutcomeKind.ALREADY_ENDED},
        {"kind": OutcomeKind.CONFLICT},
        {"kind": OutcomeKind.DUPLICATE},
    ],
)
def test_whatever_else_ended_ended_unknown_how_and_proves_nothing(changes):
    endings, feed = told()
    assert feed.learn(outcome(**changes))
    assert endings.of("one", "j") == Ending(None, None, SOURCE)
    assert not endings.is_proven("one")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": OutcomeKind.DEAD_LETTERED},
        {"target": None},
        {"target": "of another gateway"},
        {"job_id": None},
        {"job_id": ""},
        {"job_id": "j" * 513},
    ],
)
def test_what_is_not_ours_or_ended_nothing_teaches_nothing(changes):
    endings, feed = told()
    assert not feed.learn(outcome(**changes))
    assert len(endings) == 0


@pytest.mark.parametrize(
    "source",
    [
        Source("of-another-gateway", 0, 1),
        Source("job-results", -1, 1),
        Source("job-results", 2**40, 1),
        Source("job-results", 0, -1),
        Source("job-results", 0, 2**80),
    ],
)
def test_a_source_that_cannot_be_ours_is_forgotten(source):
    endings, feed = told()
    feed.learn(outcome(source=source))
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, b"d" * 16, None)


@pytest.mark.parametrize("digest", [b"", b"short", b"d" * 4000, None])
def test_a_digest_of_another_size_is_none(digest):
    endings, feed = told()
    feed.learn(outcome(digest=digest))
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, None, SOURCE)


def test_what_this_process_has_seen_is_not_overwritten_by_hearsay():
    endings, feed = told()
    endings.learn_accepted("one", result(digest=b"o" * 16), SOURCE)
    feed.learn(outcome(claim=Claim.FAILED, source=Source("job-results", 1, 1)))
    feed.learn(outcome(kind=OutcomeKind.CONFLICT))
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, b"o" * 16, SOURCE)


def test_a_claim_without_digest_is_not_overwritten_by_less():
    endings, feed = told(shares_digests=False)
    feed.learn(outcome())
    feed.learn(outcome(kind=OutcomeKind.ALREADY_ENDED, source=Source("job-results", 1, 1)))
    endings.learn_ended("one", "j", None)
    assert endings.of("one", "j") == Ending(Claim.SUCCEEDED, None, SOURCE)


def test_a_job_id_with_a_newline_is_nobody_elses():
    """Ids of third-party jobs may hold anything."""
    endings, feed = told()
    feed.learn(outcome(job_id="j\none"))
    assert endings.of("one", "j") is None
    assert endings.of("one", "j\none") is not None
