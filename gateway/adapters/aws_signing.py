"""AWS Signature Version 4 for the requests of one client: the same signature as botocore's.

What stays the same for a day is made once a day: the signing key (four of the five HMACs), and all
of the canonical request but its date, its target and the body's hash. How the URL is written in
canonical form is asked of botocore, once a client.

    POST /path query headers: │ date │ token (if there is one) target: │ name │ body's SHA-256 │

(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html)
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from hashlib import _Hash as HASH

ALGORITHM = "AWS4-HMAC-SHA256"
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class UnsendableError(Exception):
    """Something that is sent in a header must not be in one. Does not say what."""


class SigningScope(NamedTuple):
    """Where a signature is good for."""

    region: str
    service: str


@dataclass(frozen=True, slots=True)
class _Seal:
    """What one day's signatures with the same credentials share."""

    credentials: ReadOnlyCredentials = field(repr=False)
    day: str
    scope: str
    inner: HASH = field(repr=False)
    outer: HASH = field(repr=False)
    """HMAC's two hashes, once they have read the day's key."""
    before_target: str = field(repr=False)
    after_target: str
    before_signature: str = field(repr=False)


class Signer:
    """Signs POSTs of one client: content type, host, date, session token, target and body.

    Holds the last credentials that it was given, and the day's key made of them.
    """

    def __init__(self, url: str, content_type: str, scope: SigningScope) -> None:
        request, auth = AWSRequest(method="POST", url=url), SigV4Auth(None, *reversed(scope))
        method, path, query, _ = auth.canonical_request(request).split("\n", 3)
        host = auth.headers_to_sign(request)["host"]
        self._before_date = (
            f"{method}\n{path}\n{query}\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:"
        )
        self._place = scope
        self._seal: _Seal | None = None

    def __repr__(self) -> str:
        return f"Signer({self._place})"

    def lines(self, target: str, body: bytes, date: str, credentials: ReadOnlyCredentials) -> str:
        """The headers X-Amz-Security-Token (if there is a token) and Authorization, as they are
        sent. `date` is that of X-Amz-Date, `20150830T123600Z`. Raises UnsendableError."""
        seal = self._seal
        if seal is None or seal.day != date[:8] or seal.credentials != credentials:
            seal = self._seal = self._new_seal(date[:8], credentials)
        canonical = (
            f"{self._before_date}{date}{seal.before_target}{target}{seal.after_target}"
            f"{sha256(body).hexdigest()}"
        )
        digest = sha256(canonical.encode()).hexdigest()
        inner, outer = seal.inner.copy(), seal.outer.copy()
        inner.update(f"{ALGORITHM}\n{date}\n{seal.scope}\n{digest}".encode())
        outer.update(inner.digest())
        return seal.before_signature + outer.hexdigest()

    def _new_seal(self, day: str, credentials: ReadOnlyCredentials) -> _Seal:
        region, service = self._place
        key = f"AWS4{credentials.secret_key}".encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        inner, outer = _hashes_of_hmac(key)
        scope = f"{day}/{region}/{service}/aws4_request"
        token_line = (
            f"X-Amz-Security-Token: {sendable(credentials.token)}\r\n" if credentials.token else ""
        )
        token = credentials.token and f"x-amz-security-token:{' '.join(credentials.token.split())}"
        names = (
            f"content-type;host;x-amz-date;{'x-amz-security-token;' if token else ''}x-amz-target"
        )
        return _Seal(
            credentials=credentials,
            day=day,
            scope=scope,
            inner=inner,
            outer=outer,
            before_target=f"\n{token}\nx-amz-target:" if token else "\nx-amz-target:",
            after_target=f"\n\n{names}\n",
            before_signature=(
                f"{token_line}Authorization: {ALGORITHM} "
                f"Credential={sendable(credentials.access_key)}/{scope}, "
                f"SignedHeaders={names}, Signature="
            ),
        )


def _hashes_of_hmac(key: bytes) -> tuple[HASH, HASH]:
    """(https://www.rfc-editor.org/rfc/rfc2104#section-4, its last paragraph) Copying these two is
    a microsecond less than `hmac.digest`."""
    padded = key.ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in padded) for pad in (0x36, 0x5C))
    return sha256(inner), sha256(outer)


def sendable(text: str) -> str:
    """The text, unless it would end a header's line or is one that aiohttp refuses."""
    if _FORBIDDEN.search(text) is not None:
        raise UnsendableError("Forbidden control character detected in headers.")
    return text
