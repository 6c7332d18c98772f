"""What a failed attempt means, how long to wait before the next, and what uses up its patience.

Every failure has exactly one verdict, and no failure raises. It is looked for in this order:

    the lean call may be at fault ─► doubtful
    another operation failed ─► pressure if it is throttled or unwell, else an account fault
    the answer is a throttle ─► pressure
    the code is known        ─► the table below
    there is a status        ─► its class
    none of these            ─► unexpected

A code that nobody knows is no proof of anything. Called an event fault it would dead-letter a
good result on the day that AWS invents a code; called an account fault it would let one odd event
halt everybody. So an unknown 4xx is pressure: the attempt is repeated, ever more slowly, and only
while the target accepts *other* results does that use up the budget. If the event is at fault it
ends as `exhausted`; if the account is, nothing is dead-lettered. The statuses that do speak about
the caller or the endpoint (3xx, 401, 403, 404, 405, 407, 501) are account faults whatever their
code.

Sources: AWS.md "Reading answers"; the common errors of AWS's API references; botocore's lists of
retryable codes, compared with these by tests/core/test_retry.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.core.model import Failure, Verdict

ATTEMPT_TIMEOUT: Final = "AttemptTimeout"
"""Our own deadline for one call has passed."""
NO_REQUEST_ID: Final = "NoRequestId"
"""A 2xx that CodePipeline has not signed with a request id: a proxy's page, perhaps."""
UNREADABLE_ANSWER: Final = "UnreadableAnswer"
"""An answer came that is not in CodePipeline's language."""
UNKNOWN_HOST: Final = "UnknownHost"
"""The endpoint's name does not exist (which is not: could not be looked up just now)."""
BAD_CERTIFICATE: Final = "BadCertificate"
"""The endpoint's certificate is not to be trusted."""

THROTTLES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)

REFUSED_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    }
)
"""Account faults that other credentials could cure: worth looking for new ones."""

_EVENT_FAULTS: Final = (
    "InvalidClientTokenException",
    "OutputVariablesSizeExceededException",
    "RequestEntityTooLargeException",
    "SerializationException",
    "ValidationError",
    "ValidationException",
)

_ACCOUNT_FAULTS: Final = (
    *REFUSED_CREDENTIALS,
    # what AWS says
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "SubscriptionRequiredException",
    "UnauthorizedOperation",
    "UnknownOperationException",
    # what botocore says before anything is sent
    "ConfigNotFound",
    "ConfigParseError",
    "CredentialRetrievalError",
    "EndpointResolutionError",
    "EndpointVariantError",
    "InfiniteLoopConfigError",
    "InvalidConfigError",
    "InvalidProxiesConfigError",
    "InvalidRegionError",
    "LoginAuthorizationCodeError",
    "LoginError",
    "LoginInsufficientPermissions",
    "LoginRefreshRequired",
    "LoginTokenLoadError",
    "MissingDependencyException",
    "NoAuthTokenError",
    "NoCredentialsError",
    "NoRegionError",
    # Bodies are validated by the gateway and botocore's validation of them is off, so this can
    # only be about the parameters of another operation.
    "ParamValidationError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "RefreshWithMFAUnsupportedError",
    "SSOError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "UnknownCredentialError",
    "UnknownEndpointError",
    "UnknownFIPSEndpointError",
    # what we say
    BAD_CERTIFICATE,
    UNKNOWN_HOST,
)

_CLOCK_FAULTS: Final = ("InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed")

DOUBTFUL: Final = frozenset(
    {
        *_CLOCK_FAULTS,
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SerializationException",
        "SignatureDoesNotMatch",
        "UnknownOperationException",
    }
)
"""What AWS says of a request that was not made as it should be, whatever it asks for: if the lean
call has made it, botocore is to make it before it is believed."""

_PRESSURES: Final = (
    *THROTTLES,
    # what AWS says
    "IDPCommunicationError",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "RequestAbortedException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    # what botocore says when no answer came
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "EndpointConnectionError",
    "HTTPClientError",
    "IncompleteReadError",
    "MetadataRetrievalError",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseStreamingError",
    "SSLError",
    # what we say
    ATTEMPT_TIMEOUT,
    NO_REQUEST_ID,
    UNREADABLE_ANSWER,
)

VERDICTS: Final[Mapping[str, Verdict]] = {
    "InvalidJobStateException": Verdict.ENDED,
    "JobNotFoundException": Verdict.UNKNOWN_JOB,
    **dict.fromkeys(_EVENT_FAULTS, Verdict.EVENT_FAULT),
    **dict.fromkeys(_ACCOUNT_FAULTS, Verdict.ACCOUNT_FAULT),
    **dict.fromkeys(_CLOCK_FAULTS, Verdict.CLOCK),
    **dict.fromkeys(_PRESSURES, Verdict.PRESSURE),
}
"""The one table: AWS's code, or the name of what kept an answer from coming."""

_STATUS_VERDICTS: Final[Mapping[int, Verdict]] = {
    **dict.fromkeys((401, 403, 404, 405, 407, 501), Verdict.ACCOUNT_FAULT),
    413: Verdict.EVENT_FAULT,
}
_THROTTLE_STATUSES: Final = frozenset({429, 509})


def verdict(failure: Failure) -> Verdict:
    """What this failure means. Total: any failure has a verdict."""
    if failure.is_doubtful:
        return Verdict.DOUBTFUL
    if failure.foreign_operation is not None:
        return _foreign_verdict(failure)
    if is_throttle(failure):
        return Verdict.PRESSURE
    return VERDICTS.get(failure.code) or _status_verdict(_status(failure))


def is_throttle(failure: Failure) -> bool:
    """The answer asks for fewer calls."""
    if failure.is_throttle or failure.code in THROTTLES:
        return True
    return failure.code not in VERDICTS and _status(failure) in _THROTTLE_STATUSES


def uses_budget(failure: Failure, is_target_accepting: bool) -> bool:
    """True if the failure may be the event's own doing, so that patience with it may end.

    Only while the target accepts other results, and only for calls that CodePipeline may have
    read. An account's condition (throttled, unreachable, a role that cannot be assumed) uses up
    nobody's budget, because at the end of a budget stands a dead letter.
    """
    may_have_been_read = failure.is_unknown or failure.status is not None
    is_of_the_account = is_throttle(failure) or failure.foreign_operation is not None
    return is_target_accepting and may_have_been_read and not is_of_the_account


def _foreign_verdict(failure: Failure) -> Verdict:
    status = _status(failure) or 0
    is_passing = is_throttle(failure) or VERDICTS.get(failure.code) is Verdict.PRESSURE
    if is_passing or status == 408 or (status >= 500 and status != 501):
        return Verdict.PRESSURE
    return Verdict.ACCOUNT_FAULT


def _status_verdict(status: int | None) -> Verdict:
    if status is None:
        return Verdict.UNEXPECTED
    if 300 <= status < 400:
        # The gateway follows no redirects: CodePipeline sends none, so this is somebody else.
        return Verdict.ACCOUNT_FAULT
    return _STATUS_VERDICTS.get(status, Verdict.PRESSURE)


def _status(failure: Failure) -> int | None:
    """An answer without a code has its status for a code, as text."""
    if failure.status is not None:
        return failure.status
    if len(failure.code) == 3 and failure.code.isascii() and failure.code.isdecimal():
        return int(failure.code)
    return None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: any delay from 0 up to a bound that doubles with each attempt, up to a cap.

    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.)
    """

    base_seconds: float = 0.5
    cap_seconds: float = 60.0

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1); `chance` is random, in
        [0, 1). Never more than `bound(attempt)`."""
        return chance * self.bound(attempt)

    def bound(self, attempt: int) -> float:
        doublings = min(max(attempt, 1) - 1, 64)  # beyond, a float would overflow in the end
        return min(self.cap_seconds, self.base_seconds * 2.0**doublings)
