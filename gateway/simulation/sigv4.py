"""AWS Signature Version 4 from the server's side, written from its specification.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
No signer is imported: a simulator that checks a client with the client's own code proves nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from gateway.simulation.answers import Refusal, readable

ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_TOLERANCE_SECONDS = 300.0
DEFAULT_ACCOUNT = "111122223333"
_STAMP_FORMAT = "%Y%m%dT%H%M%SZ"
_SIGNING_KEYS_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Credentials that the simulator knows. With a session token, requests must carry it."""

    access_key: str
    secret_key: str
    account: str = DEFAULT_ACCOUNT
    session_token: str | None = None
    expires: float | None = None
    """Epoch seconds from which on the session token is refused as expired."""


class Caller(NamedTuple):
    """Who calls, and where: what a signature proves."""

    access_key: str
    account: str
    region: str


class SignedRequest(NamedTuple):
    """An HTTP request as it was received. `target` is the raw request target, query included."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes


class _Scope(NamedTuple):
    day: str
    region: str
    service: str
    terminator: str


class _Authorization(NamedTuple):
    access_key: str
    scope: _Scope
    signed_headers: tuple[str, ...]
    signature: str


def unverified_caller(request: SignedRequest, keys: Mapping[str, AccessKey]) -> Caller:
    """Who the request says it is from; nothing is checked. Unsigned requests have no key."""
    authorization = _parse_authorization(_joined(request.headers).get("authorization", ""))
    if isinstance(authorization, Refusal):
        return Caller("", DEFAULT_ACCOUNT, "")
    key = keys.get(authorization.access_key)
    account = key.account if key else DEFAULT_ACCOUNT
    region = readable(authorization.scope.region)
    return Caller(readable(authorization.access_key), account, region)


class SignatureVerifier:
    """Accepts a request only if one of the known keys signed exactly these bytes, about now.

    Refusals carry the codes of AWS's JSON services. Regions are not restricted: one simulator
    stands for all of them, and the signed region becomes a part of the caller.
    """

    def __init__(self, keys: Iterable[AccessKey], service: str = "codepipeline") -> None:
        self.keys: dict[str, AccessKey] = {key.access_key: key for key in keys}
        self._service = service
        self._signing_keys: dict[tuple[str, _Scope], bytes] = {}

    def verify(self, request: SignedRequest, now: float) -> Caller | Refusal:
        """The caller, or why AWS would not listen to it."""
        headers = _joined(request.headers)
        if not headers.get("authorization"):
            return Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        authorization = _parse_authorization(headers["authorization"])
        if isinstance(authorization, Refusal):
            return authorization
        key = self.keys.get(authorization.access_key)
        if key is None:
            return _UNKNOWN_KEY
        return (
            self._refused_form(authorization, headers, now)
            or _refused_token(key, headers, now)
            or self._refused_signature(request, authorization, key, headers)
            or Caller(key.access_key, key.account, readable(authorization.scope.region))
        )

    def _refused_form(
        self, authorization: _Authorization, headers: Mapping[str, str], now: float
    ) -> Refusal | None:
        return (
            _refused_signed_headers(authorization.signed_headers, headers)
            or self._refused_scope(authorization.scope)
            or _refused_moment(authorization.scope, headers, now)
        )

    def _refused_scope(self, scope: _Scope) -> Refusal | None:
        if scope.service != self._service:
            return _invalid(f"Credential should be scoped to correct service: '{self._service}'. ")
        if scope.terminator != "aws4_request":
            return _invalid(
                "Credential should be scoped with a valid terminator: 'aws4_request', "
                f"not '{scope.terminator}'."
            )
        return None

    def _refused_signature(
        self,
        request: SignedRequest,
        authorization: _Authorization,
        key: AccessKey,
        headers: Mapping[str, str],
    ) -> Refusal | None:
        canonical = _canonical_request(request, authorization.signed_headers, headers)
        text = "\n".join(
            (
                ALGORITHM,
                headers.get("x-amz-date", ""),
                "/".join(authorization.scope),
                hashlib.sha256(canonical).hexdigest(),
            )
        )
        signing_key = self._signing_key(key, authorization.scope)
        expected = hmac.digest(signing_key, text.encode("utf-8", "surrogateescape"), "sha256")
        given = authorization.signature.encode("utf-8", "surrogateescape")
        if hmac.compare_digest(expected.hex().encode(), given):
            return None
        return _MISMATCH

    def _signing_key(self, key: AccessKey, scope: _Scope) -> bytes:
        """Four HMACs once a day, key and region, instead of once a request."""
        found = self._signing_keys.get((key.secret_key, scope))
        if found is None:
            if len(self._signing_keys) >= _SIGNING_KEYS_KEPT:
                self._signing_keys.clear()
            found = f"AWS4{key.secret_key}".encode()
            for part in scope:
                found = hmac.digest(found, part.encode("utf-8", "surrogateescape"), "sha256")
            self._signing_keys[key.secret_key, scope] = found
        return found


_UNKNOWN_KEY = Refusal(
    "UnrecognizedClientException", "The security token included in the request is invalid."
)
_EXPIRED_TOKEN = Refusal(
    "ExpiredTokenException", "The security token included in the request is expired"
)


def _invalid(message: str) -> Refusal:
    return Refusal("InvalidSignatureException", message)


def _incomplete(message: str) -> Refusal:
    return Refusal("IncompleteSignatureException", message)


_MISMATCH = _invalid(
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Canonical values by lower-case name: repeated ones joined, runs of blanks collapsed."""
    joined: dict[str, str] = {}
    for name, value in headers:
        name, value = name.lower(), " ".join(value.split())
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _parse_authorization(value: str) -> _Authorization | Refusal:
    algorithm, _, rest = value.partition(" ")
    if algorithm != ALGORITHM:
        return _incomplete(f"Unsupported AWS 'algorithm': '{algorithm}'.")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, _, content = part.strip().partition("=")
        parts[name] = content
    missing = [n for n in ("Credential", "Signature", "SignedHeaders") if not parts.get(n)]
    if missing:
        return _incomplete(f"Authorization header requires '{missing[0]}' parameter.")
    # An access key holds no slash; whatever else is odd must come out as a wrong scope.
    access_key, *scope = parts["Credential"].split("/")
    if len(scope) != len(_Scope._fields):
        return _incomplete("Credential must have exactly 5 slash-delimited elements.")
    signed = tuple(parts["SignedHeaders"].split(";"))
    return _Authorization(access_key, _Scope(*scope), signed, parts["Signature"])


def _refused_signed_headers(signed: tuple[str, ...], headers: Mapping[str, str]) -> Refusal | None:
    """`host` and every `x-amz-*` header must be signed: unsigned, they could be exchanged."""
    needed = {"host", *(name for name in headers if name.startswith("x-amz-"))}
    for name in sorted(needed - set(signed)):
        return _invalid(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    if "x-amz-date" not in headers:
        return _incomplete("Authorization header requires existence of a 'X-Amz-Date' header.")
    if list(signed) != sorted(set(signed)) or any(name not in headers for name in signed):
        return _MISMATCH
    return None


def _refused_moment(scope: _Scope, headers: Mapping[str, str], now: float) -> Refusal | None:
    stamp = headers["x-amz-date"]
    signed_at = _epoch_seconds(stamp)
    if signed_at is None:
        return _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.")
    if scope.day != stamp[:8]:
        return _invalid(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
            f"from HTTP: '{scope.day}' != '{stamp[:8]}', from '{stamp}'."
        )
    if signed_at < now - CLOCK_TOLERANCE_SECONDS:
        edge = _stamp(now - CLOCK_TOLERANCE_SECONDS)
        return _invalid(
            f"Signature expired: {stamp} is now earlier than {edge} ({_stamp(now)} - 5 min.)"
        )
    if signed_at > now + CLOCK_TOLERANCE_SECONDS:
        edge = _stamp(now + CLOCK_TOLERANCE_SECONDS)
        return _invalid(
            f"Signature not yet current: {stamp} is still later than {edge} "
            f"({_stamp(now)} + 5 min.)"
        )
    return None


def _refused_token(key: AccessKey, headers: Mapping[str, str], now: float) -> Refusal | None:
    given = headers.get("x-amz-security-token")
    if given != key.session_token:
        return _UNKNOWN_KEY
    if key.expires is not None and now >= key.expires:
        return _EXPIRED_TOKEN
    return None


def _canonical_request(
    request: SignedRequest, signed: tuple[str, ...], headers: Mapping[str, str]
) -> bytes:
    path, _, query = request.target.partition("?")
    lines = (
        request.method,
        "/" if path == "/" else _canonical_path(path),
        "&".join(sorted(query.split("&"))) if query else "",
        *(f"{name}:{headers[name]}" for name in signed),
        "",
        ";".join(signed),
        hashlib.sha256(request.body).hexdigest(),
    )
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _canonical_path(path: str) -> str:
    """Normalised, then encoded once more than it travels: every service but S3 does it so."""
    normal = posixpath.normpath(path) if path else "/"
    if path.endswith("/") and not normal.endswith("/"):
        normal += "/"
    return quote("/" + normal.lstrip("/"), safe="/~", errors="surrogateescape")


def _epoch_seconds(stamp: str) -> float | None:
    # strptime would also take one-digit days and other digits than ASCII's.
    if len(stamp) != 16 or not stamp.isascii():
        return None
    try:
        return datetime.strptime(stamp, _STAMP_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime(_STAMP_FORMAT)
