"""A client id names a token, never a path, and new tokens are found without a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.client_tokens import TOKEN_MAX_BYTES, ClientTokens


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "tokens"
    directory.mkdir()
    (tmp_path / "secret").write_text("outside")
    (directory / "client-1").write_text("token-1\n")
    _age(directory, 100)
    return directory


def _age(directory: Path, at: float) -> None:
    """Sets the directory's modification time, as an update long ago would have."""
    os.utime(directory, (at, at))


def test_a_file_is_the_token_of_the_client_it_is_named_after(directory: Path) -> None:
    tokens = ClientTokens(directory)
    assert tokens.token_of("client-1") == "token-1"
    assert tokens.token_of("client-2") is None


def test_without_a_directory_there_are_no_tokens() -> None:
    assert ClientTokens(None).token_of("client-1") is None


def test_a_directory_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        ClientTokens(tmp_path / "absent")


@pytest.mark.parametrize(
    "client_id",
    ["../secret", "..", ".", "", "/etc/passwd", "client-1/", "./client-1", "..data/x", "a\0b"],
)
def test_no_client_id_is_a_path(directory: Path, client_id: str) -> None:
    assert ClientTokens(directory).token_of(client_id) is None


@given(client_id=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_client_id_finds_its_own_token_or_none(directory: Path, client_id: str) -> None:
    expected = "token-1" if client_id == "client-1" else None
    assert ClientTokens(directory).token_of(client_id) == expected


def test_a_new_token_is_found_at_once(directory: Path) -> None:
    tokens = ClientTokens(directory)
    (directory / "client-2").write_text("token-2")
    assert tokens.token_of("client-2") == "token-2"


def test_a_changed_token_is_found_within_a_second(directory: Path) -> None:
    clock = Clock()
    tokens = ClientTokens(directory, monotonic=clock)
    (directory / "new").write_text("token-1b")
    (directory / "new").replace(directory / "client-1")
    assert tokens.token_of("client-1") == "token-1"
    clock.now += 1.0
    assert tokens.token_of("client-1") == "token-1b"


def test_two_changes_in_one_tick_of_the_file_system_are_both_seen(directory: Path) -> None:
    clock = Clock()
    _age(directory, 5000.0)
    tokens = ClientTokens(directory, monotonic=clock, wall_clock=lambda: 5000.5)
    (directory / "client-1").write_text("token-1b")
    _age(directory, 5000.0)
    clock.now += 1.0
    assert tokens.token_of("client-1") == "token-1b"


def test_an_unchanged_directory_is_not_read_again(directory: Path) -> None:
    clock = Clock()
    tokens = ClientTokens(directory, monotonic=clock)
    (directory / "client-1").write_text("written over")
    clock.now += 10.0
    assert tokens.token_of("client-1") == "token-1"


def test_a_removed_token_is_gone_and_a_removed_directory_keeps_the_last(directory: Path) -> None:
    clock = Clock()
    tokens = ClientTokens(directory, monotonic=clock)
    (directory / "client-2").write_text("token-2")
    assert tokens.token_of("client-2") == "token-2"
    (directory / "client-2").unlink()
    clock.now += 1.0
    assert tokens.token_of("client-2") is None
    directory.rename(directory.with_name("away"))
    clock.now += 1.0
    assert tokens.token_of("client-1") == "token-1"


def test_a_mounted_secret_is_read_through_its_links(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "client-1").write_text(f"token-{version}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "client-1").symlink_to("..data/client-1")
    clock = Clock()
    tokens = ClientTokens(tmp_path, monotonic=clock)
    assert tokens.token_of("client-1") == "token-1"
    (tmp_path / "..tmp").symlink_to("..2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    clock.now += 1.0
    assert tokens.token_of("client-1") == "token-2"


def test_what_is_no_token_is_left_out(directory: Path) -> None:
    (directory / "folder").mkdir()
    (directory / "empty").write_text(" \n")
    (directory / "large").write_bytes(b"x" * (TOKEN_MAX_BYTES + 1))
    (directory / "binary").write_bytes(b"\xff\xfe")
    (directory / "broken").symlink_to("nowhere")
    (directory / ".hidden").write_text("hidden")
    tokens = ClientTokens(directory)
    for name in ("folder", "empty", "large", "binary", "broken", ".hidden"):
        assert tokens.token_of(name) is None
    assert repr(tokens).endswith("1 tokens)")


def test_no_token_is_in_the_repr(directory: Path) -> None:
    assert "token-1" not in repr(ClientTokens(directory))


async def test_a_look_from_the_event_loop_is_allowed(directory: Path) -> None:
    tokens = ClientTokens(directory)
    (directory / "client-2").write_text("token-2")
    assert tokens.token_of("client-2") == "token-2"
