"""A run that waits for its devices: who may take part, whose answer is awaited, when a round ends.

No HTTP here: `work` takes what a device sent and gives what it gets, and waits in between. All of
it runs in one event loop.
"""

import asyncio
import hmac
import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ganglion.errors import DataError, TrustError
from ganglion.federated.device.light import FAILED, KEY_BYTES, POLL_SECONDS, WHOLE, Key
from ganglion.federated.device.messages import Answer
from ganglion.federated.device.worker import require_artefact, sizes_of
from ganglion.federated.plan import Plan
from ganglion.federated.server import Round, Server
from ganglion.federated.store import Store

REGISTER = "devices.db"
TABLE = """create table if not exists devices (client integer primary key,
           name text unique not null, secret blob not null, number integer not null default 0,
           rows integer)"""

NUMBER = re.compile("[0-9]{1,18}")
HEADER_BYTES = 1 << 12
"""What a message may take beside its weights."""


class Stale(TrustError):
    """A request whose number is not above the last one: `last`."""

    def __init__(self, last: int) -> None:
        super().__init__(f"a request was sent a second time; the last had the number {last}")
        self.last = last


class Register:
    """The devices that may take part in the run of a folder, and their keys."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(folder / REGISTER, isolation_level=None)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute(TABLE)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"cannot keep the devices in {folder}: {error}") from error

    def enroll(self, name: str) -> Key:
        """A key for a new device. Raises DataError for a name that is taken or no plain word."""
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise DataError(f"a device's name is letters, digits, - and _, not {name!r}")
        key = Key(name, secrets.token_bytes(KEY_BYTES))
        try:
            self._db.execute("insert into devices (client, name, secret) select "
                             "coalesce(max(client) + 1, 0), ?, ? from devices", (name, key.secret))
        except sqlite3.IntegrityError as error:
            raise DataError(f"there is a device {name!r} already: take another name") from error
        return key

    def admit(self, header: str, path: str, body: bytes) -> int:
        """The device that sent this. Raises TrustError for one that is not known, or whose proof
        is wrong, and Stale for a request that came before."""
        words = header.split(" ")
        found = self._db.execute("select client, secret, number from devices where name = ?",
                                 words[:1]).fetchone()
        if len(words) != 3 or not NUMBER.fullmatch(words[1]) or found is None:
            raise TrustError("a request of a device that is not enrolled")
        client, secret, last = found
        number = int(words[1])
        proof = Key(words[0], secret).sign(number, path, body)
        if not hmac.compare_digest(proof.encode(), words[2].encode()):
            raise TrustError(f"a request in the name of {words[0]!r} with a wrong proof")
        if number <= last:
            raise Stale(last)
        self._db.execute("update devices set number = ? where client = ?", (number, client))
        return int(client)

    def joined(self, client: int, rows: int) -> None:
        """A device says how many rows it has."""
        self._db.execute("update devices set rows = ? where client = ?", (rows, client))

    def rows(self) -> dict[int, int]:
        """The devices that have joined, and their rows."""
        return dict(self._db.execute("select client, rows from devices where rows is not null"))

    def close(self) -> None:
        """Closes the file."""
        self._db.close()


@dataclass
class Host:
    """A run in the folder `folder`, made inside of an event loop. It begins when `devices` have
    joined.

    `deadline`: seconds that a round waits for answers once it has one; without it, for all.
    `poll_seconds`: how long a device's request waits for work. `judge`: measures the model behind
    each round. `most_bytes`: no message of the run is longer; 8 bytes a weight are twice those of
    `Dense`.
    """

    plan: Plan
    folder: Path
    devices: int
    deadline: float | None = None
    poll_seconds: float = POLL_SECONDS
    judge: Callable[[Server], Mapping[str, float]] = lambda server: {}
    on_round: Callable[[Round, Mapping[str, float]], None] = lambda done, figures: None
    server: Server | None = field(init=False, default=None)
    late: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.register = Register(self.folder)
        self.most_bytes = HEADER_BYTES + 8 * sum(
            sizes_of(self.plan.trainer.state, self.plan.shared))
        self._changed = asyncio.Condition()
        self._awaited: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._begin()

    @property
    def over(self) -> bool:
        """Whether all rounds are done."""
        return self.server is not None and self.server.number >= self.plan.rounds

    def status(self) -> dict[str, int | None]:
        """How far the run is: rounds planned and done, devices that joined, answers too late."""
        return {"rounds": self.plan.rounds, "joined": len(self.register.rows()),
                "round": None if self.server is None else self.server.number, "late": self.late}

    def join(self, client: int, body: bytes) -> bytes:
        """What a device that joins gets to know. Raises DataError for another artefact, a part
        without rows, and a device that comes when the run has begun without it."""
        try:
            asked = json.loads(body)
            rows, artefact = int(asked["rows"]), str(asked["artefact"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("a device joins with its rows and its artefact's digest") from error
        require_artefact(self.plan.trainer.digest, artefact)
        if not 0 < rows < 1 << 31:
            raise DataError(f"a device with {rows} rows cannot learn")
        if self.server is None:
            self.register.joined(client, rows)
            self._begin()
            self._notify()
        elif self.server.rows.get(client) != rows:
            raise DataError("the run has begun with other devices, or with another number of rows "
                            "on this one: wait for the next run")
        return json.dumps({"client": client, "settings": self.plan.settings.to_json()}).encode()

    def _begin(self) -> None:
        rows = self.register.rows()
        if self.server is not None or len(rows) < self.devices:
            return
        self.server = Server(self.plan, rows)
        self.store = Store(self.folder, self.server)
        answered = self.store.resume(self.server)
        if not self.over:
            self._awaited = set(self.server.choose()) - set(answered)
        if not self._awaited and not self.over:
            self._close()

    async def work(self, client: int, body: bytes) -> bytes | None:
        """Takes what a device sent, and gives it its next task; None where there is none in time.
        Ask `over` first."""
        whole = body == WHOLE
        async with self._changed:
            if body and not whole:
                self._take(client, body)
            try:
                async with asyncio.timeout(self.poll_seconds):
                    await self._changed.wait_for(lambda: self.over or client in self._awaited)
            except TimeoutError:
                return None
            if self.over or self.server is None:
                return None
            return self.server.task(client, whole)

    def _take(self, client: int, body: bytes) -> None:
        """An answer, or the reason why there is none. What comes too late changes nothing."""
        if self.server is None or client not in self._awaited:
            self.late += 1
            return
        refused = None
        if body.startswith(FAILED):
            refused = body[len(FAILED):].decode(errors="replace")
        elif _number(body) not in (None, self.server.number):
            self.late += 1
            return
        self.store.answered(client, None if refused else body, refused,
                            self.server.sent.get(client, 0), None)
        if refused is not None:
            self.server.refuse(client, refused)
        else:
            with suppress(DataError):  # the server counts it, and the round's account says why
                self.server.receive(client, body)
        self._awaited.discard(client)
        if not self._awaited:
            self._close()
        elif self._timer is None and self.deadline is not None:
            self._timer = asyncio.get_running_loop().call_later(self.deadline, self._out_of_time,
                                                                self.server.number)

    def _out_of_time(self, number: int) -> None:
        assert self.server is not None
        if self.server.number == number and not self.over:
            for client in self._awaited:
                self.server.refuse(client, f"no answer within {self.deadline:g} s")
            self._close()

    def _close(self) -> None:
        """Ends the round and opens the next."""
        assert self.server is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        done = self.server.close()
        figures = self.judge(self.server)
        self.store.closed(done, self.server, figures)
        self.on_round(done, figures)
        self._awaited = set() if self.over else set(self.server.choose())
        self._notify()

    def _notify(self) -> None:
        """Lets those that wait look again."""
        self._told = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _number(body: bytes) -> int | None:
    try:
        return Answer.from_bytes(body).number
    except DataError:
        return None
