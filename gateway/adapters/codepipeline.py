"""The reader's page: an operation becomes a client method, its answer None or a Failure.

    put ─► client, credentials ─► lean or botocore ─► 2xx with a request id ─► None
               │                        │
               └ on the way             └ answered, or cut off
                 (never unknown,          (unknown, if bytes may have left
                  never the event's)       and nothing conclusive came)

This is the border: beyond it nothing raises, and no message of an exception passes it, because
messages quote what they complain about. What a Failure means is decided in core/retry.py.
"""

from __future__ import annotations

import asyncio
import re
import socket
import traceback
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import ClientConnectorCertificateError, ClientConnectorError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError

from gateway.adapters.attempt_timeouts import AttemptTimeouts
from gateway.adapters.aws_clients import AwsClients
from gateway.adapters.aws_wire import METHODS, arguments
from gateway.core.call_path import LeanTrust
from gateway.core.model import Failure, JobResult, Verdict
from gateway.core.retry import (
    ATTEMPT_TIMEOUT,
    BAD_CERTIFICATE,
    NO_REQUEST_ID,
    REFUSED_CREDENTIALS,
    THROTTLES,
    UNKNOWN_HOST,
    UNREADABLE_ANSWER,
    VERDICTS,
    is_throttle,
    verdict,
)
from gateway.core.signals import LeanCallRefused
from gateway.ports import SignalSink

if TYPE_CHECKING:
    from types_aiobotocore_codepipeline import CodePipelineClient

WITHHELD: Final = "CodeWithheld"
"""Stands for a code that repeats what was sent."""
_WORTH_HIDING = 4
"""Characters of a client token: shorter ones stand in every other word."""
OPENING: Final = "client"
"""Stands for the operation that failed on the way, when it was none of AWS's: opening a client,
finding credentials."""


class CodePipelineCalls:
    """Keeps the promise of `ports.CodePipeline`: one attempt is one call, and nothing raises but
    cancellation.

    An attempt goes the lean way where the client can and LeanTrust lets it, else botocore's own.
    """

    def __init__(
        self, clients: AwsClients, attempt_timeout_seconds: float, signals: SignalSink
    ) -> None:
        self._clients = clients
        self._timeouts = AttemptTimeouts(attempt_timeout_seconds)
        self._now = asyncio.get_running_loop().time
        self._signals = signals
        self._trust: defaultdict[str, LeanTrust] = defaultdict(LeanTrust)

    async def put(self, target: str, result: JobResult) -> Failure | None:
        trust = self._trust[target]
        may_go_lean = trust.may_go_lean(result, self._now())
        failure, was_lean = await self._attempt(target, result, may_go_lean)
        if failure is not None:
            failure = without_echo(failure, result)
        if failure is not None and failure.code in REFUSED_CREDENTIALS:
            self._clients.distrust(target)
        if was_lean:
            is_doubtful = trust.is_doubtful(result, failure)
            return replace(failure, is_doubtful=True) if failure and is_doubtful else failure
        if (code := trust.refuted(result, failure, self._now())) is not None:
            self._signals.emit(LeanCallRefused(target, code))
        return failure

    async def _attempt(
        self, target: str, result: JobResult, may_go_lean: bool
    ) -> tuple[Failure | None, bool]:
        """How it ended, and whether it went the lean way."""
        is_on_the_way, is_lean = True, False
        try:
            with self._timeouts:
                client = await self._clients.ready(target)
                is_on_the_way, is_lean = False, may_go_lean and self._clients.is_lean(target)
                return await call(client, result, is_lean), is_lean
        except TimeoutError:
            timeout = Failure(ATTEMPT_TIMEOUT, is_unknown=True)
            on_the_way = Failure(ATTEMPT_TIMEOUT, foreign_operation=OPENING)
            return (on_the_way if is_on_the_way else timeout), is_lean
        except Exception as error:  # the border: whatever the world throws becomes a value here
            failure = failure_on_the_way(error) if is_on_the_way else failure_of_call(error)
            return failure, is_lean


async def call(client: CodePipelineClient, result: JobResult, is_lean: bool) -> Failure | None:
    """One call through the client's own method, in its lean form or as botocore has it."""
    method = getattr(client, METHODS[result.operation])
    answer = await (method(result.body) if is_lean else method(**arguments(result.body)))
    metadata = answer.get("ResponseMetadata", {})
    if metadata.get("RequestId"):
        return None
    return Failure(NO_REQUEST_ID, metadata.get("HTTPStatusCode"), is_unknown=True)


def without_echo(failure: Failure, result: JobResult) -> Failure:
    """Codes end in logs, and an endpoint may say back what it was sent, client token included: of
    a code that nobody knows and that stands in the request, or holds its token, nothing is kept."""
    code = failure.code
    if failure.status is None or code in VERDICTS or code in THROTTLES:
        return failure
    if code == str(failure.status):
        return failure
    token = orjson.loads(result.body).get("clientToken", "")
    is_echo = code.encode() in result.body or (len(token) >= _WORTH_HIDING and token in code)
    return replace(failure, code=WITHHELD) if is_echo else failure


def failure_on_the_way(error: Exception) -> Failure:
    """Nothing was sent to CodePipeline: no client, no credentials, no role."""
    if isinstance(error, ClientError):
        return _failure_of_answer(error, error.operation_name)
    return Failure(_connection_code(error), foreign_operation=OPENING)


def failure_of_call(error: Exception) -> Failure:
    """CodePipeline has refused the call, or no conclusive answer came."""
    if isinstance(error, ClientError):
        is_ours = error.operation_name in METHODS
        return _failure_of_answer(error, None if is_ours else error.operation_name)
    if isinstance(error, BotocoreConnectionError | HTTPClientError):
        return Failure(_connection_code(error), is_unknown=_may_have_sent(error))
    if isinstance(error, BotoCoreError):
        return Failure(type(error).__name__)
    if _was_reading(error):
        return Failure(UNREADABLE_ANSWER, is_unknown=True)
    return Failure(type(error).__name__, is_unknown=True)


def _failure_of_answer(error: ClientError, foreign_operation: str | None) -> Failure:
    said: Mapping[str, Any] = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = _code(said.get("Code"), status)
    plain = Failure(code, status, foreign_operation=foreign_operation)
    asks_for_less = is_throttle(plain) or _is_xml_throttle(code, said.get("Message"))
    is_unknown = foreign_operation is None and not asks_for_less and _is_inconclusive(plain)
    return Failure(code, status, is_unknown, foreign_operation, asks_for_less)


def _code(code: object, status: int | None) -> str:
    """AWS's code, if it looks like one: it ends in logs, and anybody may have answered."""
    if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", code):
        return code
    return str(status) if status is not None else UNREADABLE_ANSWER


def _is_xml_throttle(code: str, message: object) -> bool:
    """Sister services have answered JSON calls with an XML throttle, which botocore cannot read:
    its whole text becomes the message, and the status the code."""
    if code != "400" or not isinstance(message, str):
        return False
    return "ThrottlingException" in message or "Rate exceeded" in message


def _is_inconclusive(failure: Failure) -> bool:
    """The server was in trouble itself: it may have applied the result before."""
    return verdict(failure) is Verdict.PRESSURE and (
        (failure.status or 0) >= 500
        or failure.status == 408
        or failure.code.startswith(("RequestTimeout", "RequestAborted"))
    )


def _connection_code(error: Exception) -> str:
    cause = _wrapped(error)
    if isinstance(cause, ClientConnectorCertificateError):
        return BAD_CERTIFICATE
    if isinstance(cause, ClientConnectorError) and _is_unknown_host(cause.os_error):
        return UNKNOWN_HOST
    return type(error).__name__


def _is_unknown_host(error: OSError) -> bool:
    """The name does not exist. A resolver that cannot tell just now says something else."""
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME


def _may_have_sent(error: BotoCoreError) -> bool:
    """False only if no byte of the request can have left.

    aiobotocore calls every trouble with a connection EndpointConnectionError, a reset in the
    middle of an answer too: only the error inside tells.
    """
    if isinstance(error, ConnectTimeoutError | ProxyConnectionError | SSLError):
        return False
    if isinstance(error, EndpointConnectionError):
        return not isinstance(_wrapped(error), ClientConnectorError | socket.gaierror)
    return True


def _wrapped(error: Exception) -> object:
    return error.kwargs.get("error") if isinstance(error, BotoCoreError) else None


def _was_reading(error: Exception) -> bool:
    """True if botocore stumbled over an answer: `null`, `[]` or bytes where it wants an object."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "botocore.parsers" for frame, _ in frames)
