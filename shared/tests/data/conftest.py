"""Its own data cache for every test, and an HTTP server that misbehaves on request."""

import hashlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from reprokit.data import fetch as fetching
from reprokit.data import transfer
from reprokit.data.catalog import DataFile, Dataset

sys.path.append(str(Path(__file__).parent))  # for made_files

REAL_DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


@dataclass
class Server:
    """Serves `files`; each GET first takes one item of `faults`, for example ("cut", 100)."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[tuple] = field(default_factory=list)
    always: tuple = ()
    ranges: bool = True
    seconds_per_chunk: float = 0.0
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0

    def dataset(self, name: str, *, unpack: bool = False, size: bool = True, **files: bytes) -> Dataset:
        """Serve files and describe them as a data set."""
        described = []
        for stem, content in files.items():
            file_name = stem.replace("__", ".")
            self.files[f"/{file_name}"] = content
            described.append(
                DataFile(
                    file_name,
                    (f"{self.address}/{file_name}",),
                    hashlib.md5(content).hexdigest(),
                    hashlib.sha256(content).hexdigest(),
                    len(content) if size else None,
                    unpack,
                )
            )
        return Dataset(name, name, self.address, "none", tuple(described))


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.requests.append((self.path, wanted))
            fault = server.faults.pop(0) if server.faults else server.always
            body = server.files.get(self.path)
            self.close_connection = True
            if fault[:1] == ("status",) or body is None:
                self.send_error(fault[1] if fault else 404)
                return
            if fault[:1] == ("redirect",):
                self.send_response(302)
                self.send_header("Location", fault[1])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(body, wanted, fault)

        def _send(self, body: bytes, wanted: str | None, fault: tuple) -> None:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
            if start >= len(body) and start:
                self.send_error(416)
                return
            if fault[:1] == ("flip",):
                body = body[: fault[1]] + bytes([body[fault[1]] ^ fault[2]]) + body[fault[1] + 1 :]
            if fault[:1] == ("longer",):
                body += b"x" * fault[1]
            rest = body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            if fault[:1] != ("nolength",):
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if fault[:1] == ("cut",):
                rest = rest[: fault[1]]
            if fault[:1] == ("stall",):
                self.wfile.write(rest[: fault[1]])
                self.wfile.flush()
                time.sleep(fault[2])
                return
            if fault[:1] == ("trickle",):
                for position in range(0, len(rest), 100):
                    self.wfile.write(rest[position : position + 100])
                    self.wfile.flush()
                    time.sleep(fault[1])
                return
            for position in range(0, len(rest), 1 << 14):
                self.wfile.write(rest[position : position + (1 << 14)])
                time.sleep(server.seconds_per_chunk)
            server.sent += len(rest)

    return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients are killed on purpose


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    with _Quiet(("127.0.0.1", 0), _handler(state)) as http:
        state.address = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests away from the user's cache and mirror, and from waiting."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REPROKIT_DATA", str(folder))
    monkeypatch.delenv("REPROKIT_MIRROR", raising=False)
    monkeypatch.delenv("REPROKIT_OFFLINE", raising=False)
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.5)
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data not found at {REAL_DATA}")
    return REAL_DATA
