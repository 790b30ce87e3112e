"""Download the bytes of one address into a ``.part`` file, resuming an earlier download.

This module does not verify the bytes: `reprokit.data.fetch` does so before the file gets its name.
"""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from reprokit.data.cache import require_space, slowest
from reprokit.terminal import progress

CHUNK = 1 << 16
STALL_SECONDS = 30.0  # seconds without a byte, or with too few of them


class TransferError(Exception):
    """The bytes did not arrive.

    Args:
        message: What happened.
        retry: Whether it is worth trying the same address again.
    """

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects except from https to anything else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise TransferError(f"{req.full_url} redirects to the unprotected {newurl}: refused", retry=False)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, part: Path, size: int | None) -> None:
    """Append to `part` until it contains the whole body of `url`.

    A part left by an interrupted call is continued with a Range request; if the server ignores Range, it starts
    again.

    Args:
        url: http or https address.
        part: The file to fill; kept on failure.
        size: Expected number of bytes, None if unknown; more than that is refused.

    Raises:
        TransferError: Refused, cut off, stalled (no byte, or fewer than ``REPROKIT_SLOWEST`` per second, for
            `STALL_SECONDS`), too long, or the server answers with an error.
        OSError: The disk is full or not writable.
        UserError: The disk has too little space.
    """
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "reprokit", "Accept-Encoding": "identity"})  # noqa: S310
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_NoDowngrade)
    try:
        with opener.open(request, timeout=STALL_SECONDS) as response:
            start = _start(response, have)
            length = response.headers.get("Content-Length")
            total = start + int(length) if length is not None and length.isdigit() else size
            if size is not None and total is not None and total != size:
                raise TransferError(f"{url} offers {total} bytes, expected {size}", retry=False)
            require_space(part.parent, (total or start) - start)
            with part.open("r+b" if start else "wb") as file:
                file.truncate(start)
                file.seek(start)
                received = start + _copy(response, file, start, total, part.stem)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            raise TransferError(f"{url}: cannot be resumed, starting over") from error
        raise TransferError(f"{url}: {error.code} {error.reason}", retry=error.code >= 500) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise TransferError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    if total is not None and received < total:
        raise TransferError(f"{url}: cut after {received} of {total} bytes")


def _start(response: http.client.HTTPResponse, have: int) -> int:
    """Return the position in the file of the body's first byte."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    given = response.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {have}-"):
        raise TransferError(f"{response.url}: asked for bytes from {have}, got {given!r}", retry=False)
    return have


def _copy(
    response: http.client.HTTPResponse, file: IO[bytes], start: int, total: int | None, name: str
) -> int:
    """Copy the body as it arrives, up to `total` bytes in the file, and return the number copied."""
    copied = counted = 0
    least, since = slowest() * STALL_SECONDS, time.monotonic()
    with progress(total=total, description=name) as bar:
        bar.update(start)
        while chunk := response.read1(
            CHUNK
        ):  # not `read`, which waits for a full chunk, however slowly it arrives
            if total is not None and start + copied + len(chunk) > total:
                raise TransferError(f"{name}: the server sends more than {total} bytes", retry=False)
            file.write(chunk)
            copied += len(chunk)
            bar.update(len(chunk))
            if (now := time.monotonic()) - since >= STALL_SECONDS:
                if copied - counted < least:
                    raise TransferError(
                        f"{response.url}: stalled, {copied - counted} bytes in {now - since:.0f} s (REPROKIT_SLOWEST "
                        f"requires {slowest():g} per second)"
                    )
                counted, since = copied, now
    return copied
