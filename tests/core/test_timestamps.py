"""Moments: exact to the microsecond, of the documented form, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import botocore.session
import pytest
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.timestamps import DAY_SECONDS, revision_created, rfc_3339, utc_text
from tests.core.examples import NOW

MODEL = botocore.session.get_session().get_service_model("codepipeline")
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2027, 1, 1))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2015-01-01", 1_420_070_400),
        ("2015-01-01 10:20", 1_420_107_600),
        ("2015-01-01T10:20", 1_420_107_600),
        ("2015-01-01 10:20:30", 1_420_107_630),
        ("2015-01-01T10:20:30Z", 1_420_107_630),
        ("2015-01-01T10:20Z", 1_420_107_600),
        ("2015-01-01 10:20:30+00:00", 1_420_107_630),
        ("2015-01-01T10:20:30+05:30", 1_420_087_830),
        ("2015-01-01T10:20:30-08:00", 1_420_136_430),
        ("2015-01-01T10:20:30.5", 1_420_107_630.5),
        ("2015-01-01T10:20:30.123456Z", 1_420_107_630.123456),
        ("2015-01-01T10:20:30.123456789Z", 1_420_107_630.123456),
        ("2000-01-01", 946_684_800),
        ("2024-02-29", 1_709_164_800),
        (1_420_070_400, 1_420_070_400),
        (1_420_070_400.0, 1_420_070_400),
        (1_420_070_400.25, 1_420_070_400.25),
        (NOW + DAY_SECONDS, NOW + DAY_SECONDS),
    ],
)
def test_documented_forms_are_read(written: object, seconds: float) -> None:
    read = revision_created(written, NOW)
    assert read == seconds
    assert isinstance(read, int) is float(seconds).is_integer()


@pytest.mark.parametrize(
    "written",
    [
        "",
        "now",
        "string",
        "timestamp",
        "1420070400",
        "20150101",
        "2015-W01-1",
        "2015-001",
        "2015-1-1",
        "2015-01-01T",
        "2015-01-01T10",
        "2015-01-01T10:20:30,5",
        "2015-01-01T10:20:30.",
        "2015-01-01t10:20:30z",
        "2015-01-01Z",
        "2015-01-01+01:00",
        "2015-01-01T10:20:30+0100",
        "2015-01-01T10:20:30+01",
        "2015-01-01T10:20:30+01:00:30",
        "2015-01-01T10:20:30+24:00",
        "2015-01-01T24:00:00",
        "2015-01-01T10:60",
        "2015-01-01T10:20:60",
        "2015-02-30",
        "2015-13-01",
        "2015-01-01\n",
        " 2015-01-01",
        "2015-01-01  10:20",
        "٢٠١٥-01-01",
        "2015-01-01T10:20:30." + "1" * 60,
        "Thu, 01 Jan 2015 00:00:00 GMT",
    ],
)
def test_other_forms_are_refused(written: str) -> None:
    assert revision_created(written, NOW) == "must be YYYY-MM-DD[Thh:mm[:ss][Z]] or epoch seconds"


@pytest.mark.parametrize("written", [True, False, [], [1_420_070_400], {}])
def test_other_types_are_refused(written: object) -> None:
    assert revision_created(written, NOW) == "must be epoch seconds or YYYY-MM-DD[Thh:mm[:ss][Z]]"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        (946_684_799, "must not be before the year 2000"),
        (946_684_799.999, "must not be before the year 2000"),
        ("1999-12-31T23:59:59.999999", "must not be before the year 2000"),
        ("1970-01-01T00:00:00", "must not be before the year 2000"),
        ("0001-01-01T00:00+23:59", "must not be before the year 2000"),
        (0, "must not be before the year 2000"),
        (-(10**30), "must not be before the year 2000"),
        (NOW + DAY_SECONDS + 1, "must not be more than a day ahead"),
        ("9999-12-31T23:59:59.999999-23:59", "must not be more than a day ahead"),
        (1_420_070_400_000, "looks like milliseconds: must be epoch seconds"),
        (1_420_070_400_000.5, "looks like milliseconds: must be epoch seconds"),
        (1_420_070_400_000_000, "looks like microseconds: must be epoch seconds"),
        (1_420_070_400_000_000_000, "looks like nanoseconds: must be epoch seconds"),
        (10**30, "must not be more than a day ahead"),
        (1e300, "must not be more than a day ahead"),
    ],
)
def test_what_no_revision_can_be_is_refused(written: object, rule: str) -> None:
    assert revision_created(written, NOW) == rule


@given(moment=MOMENTS, hours=st.integers(-23, 23), minutes=st.integers(0, 59))
def test_every_way_to_write_a_moment_is_the_same_moment(
    moment: datetime, hours: int, minutes: int
) -> None:
    sign = "-" if hours < 0 else "+"
    shift = timedelta(hours=abs(hours), minutes=minutes) * (-1 if hours < 0 else 1)
    zone = f"{sign}{abs(hours):02}:{minutes:02}"
    expected = revision_created(str(moment), NOW)
    assert revision_created(moment.isoformat() + "Z", NOW) == expected
    assert revision_created(str(moment.replace(tzinfo=UTC)), NOW) == expected
    assert revision_created((moment + shift).isoformat() + zone, NOW) == expected
    assert revision_created(expected, NOW) == expected


@given(moment=MOMENTS)
def test_a_moment_is_sent_as_a_stock_client_sends_it(moment: datetime) -> None:
    revision = {"revision": "r", "changeIdentifier": "c", "created": moment}
    sent = create_serializer("json").serialize_to_request(
        {"jobId": "j", "currentRevision": revision}, MODEL.operation_model("PutJobSuccessResult")
    )
    ours = revision_created(str(moment), NOW)
    assert f'"created": {ours!r}}}' in sent["body"].decode()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-22T17:00:00Z", 1_795_366_800),
        ("2026-11-22T17:00:00.25Z", 1_795_366_800.25),
        ("2026-11-22t18:00:00+01:00", 1_795_366_800),
        ("2026-11-22 17:00:00z", 1_795_366_800),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_deadline_is_rfc_3339(text: str, seconds: float) -> None:
    assert rfc_3339(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-22", "2026-11-22T17:00:00", "2026-11-22T17:00Z", "1795366800", "tomorrow"],
)
def test_a_deadline_needs_date_time_and_zone(text: str) -> None:
    assert rfc_3339(text) is None


def test_a_moment_is_shown_in_utc() -> None:
    assert utc_text(1_420_107_630.5) == "2015-01-01T10:20:30.500000Z"
