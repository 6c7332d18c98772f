"""What the adapters' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.adapters.aws_clients import CallPath
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


@pytest.fixture(params=["lean", "botocore"])
def call_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CallPath:
    """Every test that asks for it runs on both."""
    path: CallPath = request.param
    monkeypatch.setattr(World, "call_path", path)
    return path
