"""How a connection to one endpoint is made: its name looked up, an address reached, TLS agreed on.

The same as aiohttp does it, with the same two libraries, so that both find the same address. What
fails is raised as aiohttp would raise it: of these alone it is known that no request has left.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Final

from aiohappyeyeballs import start_connection
from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ConnectionTimeoutError,
    DefaultResolver,
)
from aiohttp.client_reqrep import ConnectionKey

from gateway.adapters.shared_work import SharedWork

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohappyeyeballs import AddrInfoType
    from yarl import URL

    from gateway.adapters.http_connection import HttpConnection

NEXT_ADDRESS_SECONDS: Final = 0.25
"""Until the next address is tried beside one that is silent (RFC 8305)."""


class Route:
    """Every connection that is opened goes where the name points now: connections that are opened
    at once share one look-up, and nothing of it is kept."""

    def __init__(self, url: URL, tls: ssl.SSLContext | None, connect_seconds: float | None) -> None:
        assert url.raw_host is not None
        assert url.port is not None
        self._url, self._host, self._port = url, url.raw_host, url.port
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._looking_up = SharedWork(self._look_up, rest_seconds=0.0)

    async def open(self, new_connection: Callable[[], HttpConnection]) -> HttpConnection:
        """A connection, verified. The time-out is for address and TLS; a look-up takes as long as
        the resolver lets it."""
        addresses = await self._addresses()
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await self._connect(addresses, new_connection)
        except ssl.CertificateError as error:
            raise ClientConnectorCertificateError(self._key(), error) from error
        except ssl.SSLError as error:
            raise ClientConnectorSSLError(self._key(), error) from error
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise ConnectionTimeoutError(f"Connection timeout to host {self._url}") from error
            raise ClientConnectorError(self._key(), error) from error

    async def close(self) -> None:
        await self._looking_up.close()

    async def _connect(
        self, addresses: list[AddrInfoType], new_connection: Callable[[], HttpConnection]
    ) -> HttpConnection:
        reached = await start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, interleave=1
        )
        name = None if self._tls is None else self._host.rstrip(".")
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            new_connection, sock=reached, ssl=self._tls, server_hostname=name
        )
        return connection

    async def _addresses(self) -> list[AddrInfoType]:
        if _is_address(self._host):
            return [_address(self._host, self._port)]
        try:
            return list(await self._looking_up.wait())
        except OSError as error:
            raise ClientConnectorDNSError(self._key(), error) from error

    async def _look_up(self) -> list[AddrInfoType]:
        found = await DefaultResolver().resolve(self._host, self._port, socket.AF_UNSPEC)
        return [_address(one["host"], one["port"]) for one in found]

    def _key(self) -> ConnectionKey:
        """By which aiohttp's exceptions name a host."""
        is_tls = self._tls is not None
        return ConnectionKey(self._host, self._port, is_tls, True, None, None, None)


def _address(host: str, port: int) -> AddrInfoType:
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
