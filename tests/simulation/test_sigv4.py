"""Our verifier agrees with botocore's signer, and with nobody who has changed a byte."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.simulation.answers import Refusal
from gateway.simulation.sigv4 import (
    AccessKey,
    Caller,
    SignatureVerifier,
    SignedRequest,
    unverified_caller,
)

NOW = 1_800_000_000.0
KEY = AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "123456789012")
SESSION = replace(KEY, access_key="ASIDEXAMPLE", session_token="AQoDYXdz//token==")

blanks = st.text(" \t", min_size=1, max_size=3)
words = st.lists(st.text("abcXYZ019:;,=/-_", min_size=1, max_size=8), min_size=1, max_size=4)
header_values = st.builds(lambda parts, blank: blank.join(parts), words, blanks)
header_names = st.text("abcdefghijk-", min_size=1, max_size=12).map(lambda n: f"X-Test-{n}")
bodies = st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode))
hosts = st.sampled_from(
    ["codepipeline.us-east-1.amazonaws.com", "127.0.0.1:4566", "localhost:8090", "[::1]:80"]
)
regions = st.sampled_from(["us-east-1", "eu-west-1", "us-gov-west-1", "cn-north-1"])


def signed(
    key: AccessKey = KEY,
    body: bytes = b'{"jobId":"1"}',
    host: str = "localhost:8090",
    region: str = "us-east-1",
    service: str = "codepipeline",
    extra: dict[str, str] | None = None,
) -> SignedRequest:
    """A request as botocore signs it at NOW."""
    target = "CodePipeline_20150709.PutJobSuccessResult"
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", f"https://{host}/", headers | (extra or {}), body)
    credentials = Credentials(key.access_key, key.secret_key, key.session_token)
    stamp = datetime.fromtimestamp(NOW, UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: stamp)
        SigV4Auth(credentials, service, region).add_auth(request)
    sent = [*request.headers.items(), ("Host", host), ("User-Agent", "unsigned")]
    return SignedRequest("POST", "/", tuple(sent), body)


def verifier() -> SignatureVerifier:
    return SignatureVerifier([KEY, SESSION])


def code(request: SignedRequest, now: float = NOW) -> str:
    answer = verifier().verify(request, now)
    return answer.code if isinstance(answer, Refusal) else "accepted"


def with_header(request: SignedRequest, name: str, value: str | None) -> SignedRequest:
    kept = tuple(h for h in request.headers if h[0].lower() != name.lower())
    return request._replace(headers=kept if value is None else (*kept, (name, value)))


def header(request: SignedRequest, name: str) -> str:
    return next(value for n, value in request.headers if n.lower() == name.lower())


@given(
    st.sampled_from([KEY, SESSION]),
    bodies,
    hosts,
    regions,
    st.dictionaries(header_names, header_values, max_size=4),
)
def test_what_botocore_signs_is_accepted(key, body, host, region, extra):
    request = signed(key, body, host, region, extra=extra)
    caller = Caller(key.access_key, "123456789012", region)
    assert verifier().verify(request, NOW) == caller
    assert unverified_caller(request, {key.access_key: key}) == caller


@given(header_values, blanks)
def test_blanks_round_and_in_header_values_do_not_matter(value, blank):
    request = signed(extra={"X-Test": value})
    spaced = with_header(request, "X-Test", blank + blank.join(value.split()) + blank)
    assert code(spaced) == "accepted"


@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_changed_byte_of_the_body_is_refused(body, data):
    request = signed(body=body)
    at = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.integers(1, 255))
    changed = body[:at] + bytes([body[at] ^ other]) + body[at + 1 :]
    assert code(request._replace(body=changed)) == "InvalidSignatureException"


@given(
    st.sampled_from(["X-Amz-Target", "Content-Type", "Host", "X-Amz-Security-Token", "X-Test"]),
    st.data(),
)
def test_one_changed_byte_of_a_signed_header_is_refused(name, data):
    request = signed(SESSION, extra={"X-Test": "value"})
    value = header(request, name)
    at = data.draw(st.integers(0, len(value) - 1))
    new = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    assume(new != value[at])
    changed = with_header(request, name, value[:at] + new + value[at + 1 :])
    assert code(changed) in {"InvalidSignatureException", "UnrecognizedClientException"}


@given(st.data())
def test_one_changed_byte_of_the_authorization_is_refused(data):
    request = signed()
    value = header(request, "Authorization")
    at = data.draw(st.integers(0, len(value) - 1))
    new = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
    assume(new != value[at] and not (new == " " and value[at] == " "))
    assume(value[:at] + new + value[at + 1 :] != value)
    assert code(with_header(request, "Authorization", value[:at] + new + value[at + 1 :])) in {
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "UnrecognizedClientException",
    }


@given(st.text(max_size=80), st.text(max_size=20), st.text(max_size=20))
def test_no_authorization_whatever_raises(authorization, date, token):
    request = with_header(signed(), "Authorization", authorization)
    request = with_header(with_header(request, "X-Amz-Date", date), "X-Amz-Security-Token", token)
    assert code(request) != "accepted"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_another_method_or_path_is_refused(method):
    assert code(signed()._replace(method=method)) == "InvalidSignatureException"
    assert code(signed()._replace(target="/other")) == "InvalidSignatureException"
    assert code(signed()._replace(target="/?a=b")) == "InvalidSignatureException"


def test_a_missing_authorization_is_a_missing_token():
    absent = with_header(signed(), "Authorization", None)
    assert code(absent) == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("missing", ["Credential", "SignedHeaders", "Signature"])
def test_half_an_authorization_is_incomplete(missing):
    whole = header(signed(), "Authorization")
    half = whole.replace(f"{missing}=", "Nothing=")
    assert code(with_header(signed(), "Authorization", half)) == "IncompleteSignatureException"


def test_an_amz_header_added_after_signing_is_refused():
    assert code(with_header(signed(), "X-Unsigned", "welcome")) == "accepted"
    assert code(with_header(signed(), "X-Amz-Other", "added")) == "InvalidSignatureException"


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target"])
def test_a_header_that_matters_must_be_signed(name):
    whole = header(signed(), "Authorization")
    unsigned = whole.replace(f"{name};", "").replace(f";{name}", "")
    assert unsigned != whole
    refused = code(with_header(signed(), "Authorization", unsigned))
    assert refused == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW - 300, "accepted"),
        (NOW + 300, "accepted"),
        (NOW - 301, "InvalidSignatureException"),
        (NOW + 301, "InvalidSignatureException"),
        (NOW + 86_400, "InvalidSignatureException"),
    ],
)
def test_a_signature_lives_five_minutes(now, expected):
    assert code(signed(), now) == expected


@pytest.mark.parametrize("date", ["", "20270115T0800", "Fri, 15 Jan 2027 08:00:00 GMT", "２" * 16])
def test_a_date_that_is_none_is_incomplete(date):
    changed = with_header(signed(), "X-Amz-Date", date)
    assert code(changed) == "IncompleteSignatureException"


def test_a_signature_for_another_service_is_refused():
    assert code(signed(service="s3")) == "InvalidSignatureException"


def test_a_session_key_needs_its_token():
    assert code(with_header(signed(SESSION), "X-Amz-Security-Token", None)) != "accepted"
    assert code(signed(replace(SESSION, session_token=None))) == "UnrecognizedClientException"
    assert code(signed(replace(SESSION, session_token="x"))) == "UnrecognizedClientException"


def test_an_expired_session_is_told_so():
    expiring = SignatureVerifier([replace(SESSION, expires=NOW)])
    assert isinstance(expiring.verify(signed(SESSION), NOW - 1), Caller)
    answer = expiring.verify(signed(SESSION), NOW)
    assert isinstance(answer, Refusal)
    assert answer.code == "ExpiredTokenException"


def test_a_signing_key_of_one_day_does_not_open_another():
    checked = verifier()
    request = signed()
    assert isinstance(checked.verify(request, NOW), Caller)
    tomorrow = header(request, "X-Amz-Date").replace("20270115", "20270116")
    later = checked.verify(with_header(request, "X-Amz-Date", tomorrow), NOW + 86_400)
    assert isinstance(later, Refusal)
