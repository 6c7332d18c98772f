"""A held port is there for who asks for it by its number, and for nobody else."""

from __future__ import annotations

import socket

import pytest

from gateway.simulation.ports import HOST, HeldPorts


def test_a_held_port_can_be_listened_on_by_its_number_and_comes_to_nobody_by_chance() -> None:
    ports = HeldPorts()
    port = ports.take()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((HOST, port))
    with socket.create_server((HOST, port)) as server:
        with socket.create_connection((HOST, port)):
            pass
        with pytest.raises(OSError, match="in use"):
            HeldPorts().take(port)  # somebody listens there
        assert server.getsockname()[1] == port
    ports.release()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind((HOST, port))
