"""What the adapters' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.adapters.aws_clients import CallPath
from gateway.adapters.aws_transport import Transport
from tests.adapters.aws_world import ACCESS_KEY, SECRET, World


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing of this machine's AWS configuration, and the simulator's key. Returns a folder in
    which `config` and `credentials` are the files that AWS clients read."""
    for name in tuple(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.fixture(params=["lean-httptools", "lean-aiohttp", "botocore"])
def call_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CallPath:
    """Every test that asks for it runs on both, and the lean one over both transports."""
    name, _, transport = request.param.partition("-")
    path: CallPath = name
    monkeypatch.setattr(World, "call_path", path)
    monkeypatch.setattr(World, "transport", transport or World.transport)
    return path


@pytest.fixture(params=["httptools", "aiohttp"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Transport:
    """Every test that asks for it runs over both."""
    transport: Transport = request.param
    monkeypatch.setattr(World, "transport", transport)
    return transport
