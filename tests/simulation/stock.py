"""Stock AWS clients, as anyone would make them, pointed at a simulator. Both speak one way here:

answer = await client("PutJobSuccessResult", jobId=...)
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from gateway.simulation.codepipeline import CodePipelineSimulator
from gateway.simulation.service import EXAMPLE_KEY
from gateway.simulation.sigv4 import AccessKey

JOB_ID = "11111111-2222-4333-8444-555555555555"
FAILURE = {"type": "JobFailed", "message": "the build broke"}
CUSTOM_TYPE = {"category": "Build", "owner": "Custom", "provider": "Simulated", "version": "1"}
THIRD_PARTY_TYPE = CUSTOM_TYPE | {"owner": "ThirdParty"}
ONE_TRY = {"mode": "standard", "total_max_attempts": 1}

# One session for all: a client costs 5 ms instead of 200 once the models are loaded.
_session = Session()
async_session = get_session()


class StockClient(Protocol):
    async def __call__(self, operation: str, **members: Any) -> dict[str, Any]: ...


def arguments(simulator: CodePipelineSimulator, key: AccessKey, region: str) -> dict[str, Any]:
    return {
        "region_name": region,
        "endpoint_url": simulator.endpoint,
        "aws_access_key_id": key.access_key,
        "aws_secret_access_key": key.secret_key,
        "aws_session_token": key.session_token,
    }


def boto3_client(
    simulator: CodePipelineSimulator,
    key: AccessKey = EXAMPLE_KEY,
    region: str = "us-east-1",
    **config: Any,
) -> StockClient:
    """boto3, in a thread, because the server lives in this one."""
    client = boto3.Session(botocore_session=_session).client(
        "codepipeline",
        config=Config(**({"retries": ONE_TRY, "read_timeout": 20} | config)),
        **arguments(simulator, key, region),
    )

    async def call(operation: str, **members: Any) -> dict[str, Any]:
        return await asyncio.to_thread(client._make_api_call, operation, members)

    return call


def aiobotocore_client(
    simulator: CodePipelineSimulator,
    key: AccessKey = EXAMPLE_KEY,
    region: str = "us-east-1",
    **config: Any,
) -> StockClient:
    """aiobotocore, a client a call."""

    async def call(operation: str, **members: Any) -> dict[str, Any]:
        async with async_session.create_client(
            "codepipeline",
            config=AioConfig(**({"retries": ONE_TRY, "read_timeout": 20} | config)),
            **arguments(simulator, key, region),
        ) as client:
            return await client._make_api_call(operation, members)

    return call


async def error_of(call: Any) -> ClientError:
    """The ClientError that the call must end with."""
    try:
        answer = await call
    except ClientError as error:
        return error
    raise AssertionError(f"no error, but {answer}")


async def code_of(call: Any) -> str:
    return str((await error_of(call)).response["Error"]["Code"])
