"""The device's end of the channel: HTTP(S), the runtime and NumPy, nothing else.

Every request is POST /join or POST /work with a header G of three words: the device's name, a
number that only grows, and an HMAC-SHA256 of number, path and body under the device's key. A body
of /work is an answer, empty, WHOLE, or FAILED and a reason; what comes back is a task (200),
nothing yet (204), or the end of the run (410). RFC 2104; TLS is Python's `ssl`.
"""

import base64
import hmac
import http.client
import json
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ganglion.errors import DataError, TrustError
from ganglion.federated.device.worker import (
    Memory,
    OutOfStep,
    Settings,
    Worker,
    first_memory,
    rows_of,
)
from ganglion.files import read_regular, write_atomic
from ganglion.runtime import Trainer
from ganglion.runtime.batches import Batch

WHOLE, FAILED = b"?", b"!"
GOOD = (200, 204, 410)
KEY_BYTES = 32
MOST_BYTES = 1 << 28
POLL_SECONDS = 50.0
"""How long the server keeps a request that it has nothing for."""
WAITS = (0.2, 1.0, 5.0, 20.0, 60.0)
"""Seconds before a request that failed is tried again."""


@dataclass(frozen=True)
class Key:
    """Who a device is: its name, and the secret that it shares with the server."""

    device: str
    secret: bytes

    @classmethod
    def read(cls, path: Path) -> "Key":
        """The key in a file that `enroll` wrote. Raises DataError for what is none."""
        try:
            found = json.loads(read_regular(path, DataError, 4096))
            return cls(str(found["device"]), bytes.fromhex(found["secret"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no device's key: let the server enroll the device "
                            "again") from error

    def text(self) -> str:
        """What stands in the file."""
        return json.dumps({"device": self.device, "secret": self.secret.hex()})

    def sign(self, number: int, path: str, body: bytes) -> str:
        """The proof that the device sent this."""
        told = number.to_bytes(8, "big") + path.encode() + b"\0" + body
        return base64.b64encode(hmac.digest(self.secret, told, "sha256")).decode()


class Link:
    """Requests to a server, over one connection that is made again where it broke."""

    def __init__(self, url: str, key: Key, authorities: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{url!r} is no server: expected https://HOST:PORT")
        self._host, self._port = parts.hostname, parts.port
        self._tls = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=authorities)
        self._key, self._number = key, 0
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises TrustError for a server whose certificate is not
        the expected one, and for a key that it does not know; DataError for what it refuses;
        OSError where it can't be reached, or fails itself."""
        for _ in range(2):
            status, answer = self._once(path, body)
            if status != 409:
                break
            self._number = int(answer)  # the server has seen larger numbers: this device was reset
        if status in (401, 409):
            raise TrustError(f"the server at {self._host} does not take this device's key: enroll "
                             f"the device {self._key.device!r} there")
        if status >= 500:
            raise ConnectionError(f"the server at {self._host} failed ({status})")
        if status not in GOOD:
            raise DataError(answer.decode(errors="replace"))
        return status, answer

    def _once(self, path: str, body: bytes) -> tuple[int, bytes]:
        self._number += 1
        proof = self._key.sign(self._number, path, body)
        try:
            if self._connection is None:
                self._connection = self._open()
            self._connection.putrequest("POST", path, skip_accept_encoding=True)
            self._connection.putheader("G", f"{self._key.device} {self._number} {proof}")
            self._connection.putheader("Content-Length", str(len(body)))
            self._connection.endheaders(body)
            response = self._connection.getresponse()
            answer = response.read(MOST_BYTES)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise TrustError(f"the server at {self._host} has a certificate that is not trusted "
                             f"({error.verify_message}): give its authority (--ca), or find out "
                             "who answers there") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(f"the server at {self._host} can't be reached: {error}"
                                  ) from error
        return response.status, answer

    def _open(self) -> http.client.HTTPConnection:
        wait = POLL_SECONDS + 30
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=wait)
        return http.client.HTTPSConnection(self._host, self._port, timeout=wait, context=self._tls)

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def take_part(link: Link, trainer: Trainer, x: Batch, y: Batch, folder: Path, *,
              on_round: Callable[[int], None] = lambda number: None,
              wait: Callable[[float], None] = time.sleep) -> None:
    """Joins the run of the server behind `link` and learns in it until it ends.

    `folder`: where the device remembers what it has; killed at any moment and started again, it
    goes on. A server that can't be reached is asked again, less and less often. Raises TrustError
    and DataError as `Link.post` and `Worker`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "memory"
    with closing(link):
        worker = _joined(link, trainer, x, y, file, wait)
        status, answer = 204, b""
        while status != 410:
            status, task = _patient(link, "/work", answer, wait)
            answer = _worked(worker, task) if status == 200 else b""
            if status == 200:
                write_atomic(file, worker.memory.save())
                on_round(worker.memory.number)


def _joined(link: Link, trainer: Trainer, x: Batch, y: Batch, file: Path,
            wait: Callable[[float], None]) -> Worker:
    asked = json.dumps({"rows": rows_of(y), "artefact": trainer.digest}).encode()
    _, told = _patient(link, "/join", asked, wait)
    try:
        found = json.loads(told)
        settings, client = Settings.from_json(found["settings"]), int(found["client"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("the server's welcome is none of this version's: update the device or the "
                        "server") from error
    memory = (Memory.restore(read_regular(file, DataError, MOST_BYTES)) if file.exists()
              else first_memory(settings, trainer))
    return Worker(settings, trainer, x, y, memory, client)


def _worked(worker: Worker, task: bytes) -> bytes:
    try:
        return worker.work(task)
    except OutOfStep:
        return WHOLE
    except DataError as error:
        return FAILED + str(error).encode()


def _patient(link: Link, path: str, body: bytes, wait: Callable[[float], None]
             ) -> tuple[int, bytes]:
    tries = 0
    while True:
        try:
            return link.post(path, body)
        except OSError:
            wait(WAITS[min(tries, len(WAITS) - 1)])
            tries += 1
