"""Moments as events write them, to epoch seconds.

Guarantee: what is read is exact to the microsecond and comes out as AWS's client would send it:
an integer if there is no fraction, else a float of at most six decimals. What is not of the
documented form is refused; `datetime.fromisoformat` alone reads far more (week dates, `20150101`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

EARLIEST_SECONDS = 946_684_800
"""2000-01-01. No revision of an artifact is older; a year before it is a mistake of units."""
DAY_SECONDS = 86_400
LONGEST_TEXT = 64
"""Characters of a moment as text. Past it nobody means a moment, only work for the parser."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
REVISION_PATTERN = (
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_TIME}(:[0-5][0-9](\.[0-9]+)?)?(Z|[+-]{_TIME})?)?"
)
"""The form of `created` as text, in the regular expressions that JSON Schema knows too."""
_REVISION_FORM = re.compile(REVISION_PATTERN)
_RFC_3339_FORM = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_TIME}:[0-5][0-9](\.[0-9]+)?(Z|[+-]{_TIME})"
)
_UNITS = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))


def revision_created(value: object, now: float) -> int | float | str:
    """Epoch seconds of `created`, or (str) the rule that it breaks. No zone means UTC."""
    seconds = _seconds_of(value)
    if isinstance(seconds, str):
        return seconds
    if seconds < EARLIEST_SECONDS:
        return "must not be before the year 2000"
    if seconds > now + DAY_SECONDS:
        return _too_late(seconds)
    return seconds


def rfc_3339(text: str) -> float | None:
    """Epoch seconds of a moment with date, time and zone; None if it is of another form."""
    return _parsed(_RFC_3339_FORM, text.upper())


def utc_text(seconds: int | float) -> str:
    """The moment for people: `2015-01-01T00:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _seconds_of(value: object) -> int | float | str:
    if type(value) is str:
        seconds = _parsed(_REVISION_FORM, value)
        return "must be YYYY-MM-DD[Thh:mm[:ss][Z]] or epoch seconds" if seconds is None else seconds
    if type(value) is float:
        rounded = round(value, 6)
        return int(rounded) if rounded.is_integer() else rounded
    if type(value) is int:
        return value
    return "must be epoch seconds or YYYY-MM-DD[Thh:mm[:ss][Z]]"


def _parsed(form: re.Pattern[str], text: str) -> int | float | None:
    if len(text) > LONGEST_TEXT or form.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # 30 February
        return None
    return _epoch_seconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _epoch_seconds(moment: datetime) -> int | float:
    since = moment - _EPOCH
    seconds = since.total_seconds()
    return seconds if since.microseconds else int(seconds)


def _too_late(seconds: int | float) -> str:
    for unit, factor in _UNITS:
        if EARLIEST_SECONDS <= seconds / factor < EARLIEST_SECONDS * 100:
            return f"looks like {unit}: must be epoch seconds"
    return "must not be more than a day ahead"
