"""Whether a dask scheduler listens at an address: its client, finding none, would wait for minutes."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

from flarekit.errors import MissingDependency, UsageError

CONNECT_S = 5.0  # a scheduler answers within milliseconds, once it has started
_LONGEST_GREETING_BYTES = 1 << 20  # it takes some hundreds; text, taken for a number, is far beyond


def require_scheduler(address: str) -> None:
    """Raises MissingDependency unless a scheduler listens there, UsageError for an address that is none."""
    scheme, host, port = _parts(address)
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            with socket.create_connection((host, port), timeout=CONNECT_S) as connection:
                greeted = scheme == "tls" or _greets(connection)  # TLS waits for the client to speak first
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise no_answer(address) from error
        time.sleep(0.1)
    if not greeted:
        raise MissingDependency(
            "something else than a scheduler answers",
            where=address,
            remedy="Give the scheduler's own port, 8786 unless it was told another; its dashboard's is no use here.",
        )


def _parts(address: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises UsageError."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not address.startswith(("tcp://", "tls://")) or host is None or port is None:
        raise UsageError(f"{address!r} is not the address of a scheduler", remedy="Write it as tcp://host:8786.")
    return parts.scheme, host, port


def _greets(connection: socket.socket) -> bool:
    """Whether the other end opens with the length of a short message, as every process of dask.distributed does.

    Raises TimeoutError where it says nothing.
    """
    length = connection.recv(8, socket.MSG_WAITALL)
    return len(length) == 8 and int.from_bytes(length, "little") < _LONGEST_GREETING_BYTES


def no_answer(address: str) -> MissingDependency:
    """The error for an address where nothing answers."""
    return MissingDependency(
        "no scheduler answers", where=address, remedy="Start one with `dask scheduler`, or work with --workers."
    )
