"""The cheapest HTTP/1.1 endpoint that an AWS client accepts: a yardstick, not a simulator.

Every POST is answered with 200, no body and a request id; `GET /count` says how many there were,
`GET /span` how many since the last `GET /begin` and the seconds from the first of them to the last.
A body that holds `sent@<seconds since the epoch>` is a letter with a date: `GET /delays` says, one
a line, how many seconds after that moment each of them has arrived, and when, since `GET /begin`.
`GET /throttle/2` has every call refused for two seconds.
Nothing is verified. Run as a process of its own, so that its cost is nobody else's:

    python benchmarks/endpoint.py [--port 0] [--latency 0.05] [--self-signed | --cert F --key F]

prints its port on standard output (with --self-signed the certificate's path on a second line).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

_HEADERS_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 65_536
_DATE = re.compile(rb"sent@(\d{10}\.\d{6})")
_THROTTLED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.1\r\n"
    b"x-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\nContent-Length: 32\r\n\r\n"
    b'{"__type":"ThrottlingException"}'
)


@dataclass(slots=True)
class Tally:
    """What the endpoint has answered so far, and how long each answer takes."""

    latency_seconds: float
    posts: int = 0
    span_began_with: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    throttles_until: float = 0.0
    delays: list[tuple[float, float]] = field(default_factory=list)

    def answer(self, head: bytes, body: bytes = b"") -> bytes:
        if head.startswith(b"POST "):
            if self.throttles_until and time.time() < self.throttles_until:
                return _THROTTLED
            if (dated := _DATE.search(body)) is not None:
                now = time.time()
                self.delays.append((now - float(dated[1]), now))
            self.last_at = time.perf_counter()
            if self.posts == self.span_began_with:
                self.first_at = self.last_at
            self.posts += 1
            return (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"
                b"x-amzn-RequestId: 00000000-0000-4000-8000-%012d\r\nContent-Length: 0\r\n\r\n"
                % self.posts
            )
        if head.startswith(b"GET /count"):
            return _page(b"%d\n" % self.posts)
        if head.startswith(b"GET /begin"):
            self.span_began_with = self.posts
            self.first_at = self.last_at = 0.0
            self.delays.clear()
            return _page(b"")
        if head.startswith(b"GET /span"):
            seconds = self.last_at - self.first_at
            return _page(b"%d %.6f\n" % (self.posts - self.span_began_with, seconds))
        if head.startswith(b"GET /throttle/"):
            self.throttles_until = time.time() + float(head.split(b"/", 2)[2].split(b" ")[0])
            return _page(b"")
        if head.startswith(b"GET /delays"):
            return _page(b"".join(b"%.6f %.6f\n" % one for one in self.delays))
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers requests in the order in which they came, however their bytes were cut."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        answers = []
        while (request := self._take()) is not None:
            answers.append(self._tally.answer(*request))
        if answers:
            self._answer(b"".join(answers))
        elif len(self._received) > _MAX_HEAD_BYTES and _HEADERS_END not in self._received:
            self._close()

    def _take(self) -> tuple[bytes, bytes] | None:
        """Head and body of the next request if all of it is here; it is then consumed."""
        end = self._received.find(_HEADERS_END)
        if end < 0:
            return None
        head = self._received[:end]
        begin = end + len(_HEADERS_END)
        total = begin + _content_length(head)
        if len(self._received) < total:
            return None
        body = self._received[begin:total]
        self._received = self._received[total:]
        return head, body

    def _answer(self, answers: bytes) -> None:
        if self._tally.latency_seconds:
            # Delays are equal, so timers end in the order in which requests came.
            loop = asyncio.get_running_loop()
            loop.call_later(self._tally.latency_seconds, self._write, answers)
        else:
            self._write(answers)

    def _write(self, answers: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answers)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _page(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _content_length(head: bytes) -> int:
    """0 for a request without body; no client of ours sends chunks."""
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    digits = lower[start + len(b"\r\ncontent-length:") :].split(b"\r\n", 1)[0].strip()
    return int(digits) if digits.isdigit() else 0


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and localhost, and its key. Needs the openssl command."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise SystemExit("--self-signed needs the openssl command; give --cert and --key instead")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(cert)]
    command = [openssl, "req", "-x509", "-days", "2", *curve, *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def serve(options: argparse.Namespace, folder: Path) -> None:
    tls = None
    if options.self_signed:
        options.cert, options.key = self_signed(folder)
    if options.cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.cert, options.key)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    tally = Tally(options.latency)
    server = await loop.create_server(
        lambda: Connection(tally), options.host, options.port, ssl=tls, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    if options.self_signed:
        print(options.cert, flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--self-signed", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(serve(options, Path(folder)))


if __name__ == "__main__":
    main()
