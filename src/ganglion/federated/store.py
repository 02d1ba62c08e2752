"""A run on disk: killed at any moment, it goes on from what was there, with the same bits.

One SQLite file. Every answer is written before it counts; a round is closed in one transaction. So
what is read back is either the round before with the answers that had come, or the round after.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from ganglion.errors import DataError
from ganglion.federated.server import Known, Round, Server

FILE = "run.db"
TABLES = """
create table if not exists run (plan blob not null, rows text not null);
create table if not exists model (one integer primary key check (one = 1), number integer not null,
                                  points blob not null, common blob);
create table if not exists known (client integer primary key, held blob not null, common blob);
create table if not exists answers (client integer primary key, message blob, refused text,
                                    down integer not null);
create table if not exists memories (client integer primary key, memory blob not null);
create table if not exists rounds (number integer primary key, account text not null,
                                   figures text not null);
"""


class Store:
    """The run in the folder `path`, made where there is none.

    Raises DataError for a folder that can't be written, or that holds the run of another plan or
    of other devices."""

    def __init__(self, path: Path, server: Server) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path / FILE, isolation_level=None)
            with closing(self._db.cursor()) as cursor:
                cursor.execute("pragma journal_mode = wal")
                cursor.executescript(TABLES)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"cannot keep the run in {path}: {error}") from error
        self._begin(path, server)

    def _begin(self, path: Path, server: Server) -> None:
        rows = json.dumps(sorted(server.rows.items()))
        found = self._db.execute("select plan, rows from run").fetchone()
        if found is None:
            self._db.execute("insert into run values (?, ?)", (server.plan.digest, rows))
        elif found != (server.plan.digest, rows):
            raise DataError(f"{path} holds a run of another plan, artefact or set of devices: take "
                            "another folder, or the plan that it was begun with")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def resume(self, server: Server) -> list[int]:
        """Brings the server to where the run was; the devices that had answered in the open
        round."""
        found = self._db.execute("select number, points, common from model").fetchone()
        if found is not None:
            server.number = found[0]
            server.model = np.frombuffer(found[1], np.int64)
            server.common = None if found[2] is None else np.frombuffer(found[2], np.int64)
            server.known = {client: Known(np.frombuffer(held, np.int32),
                                          None if common is None else
                                          np.frombuffer(common, np.int64))
                            for client, held, common in self._db.execute("select * from known")}
        answered = self._db.execute(
            "select client, message, refused, down from answers order by client").fetchall()
        for client, message, refused, down in answered:
            server.replay(client, message, refused, down)
        return [client for client, *_ in answered]

    def memories(self) -> dict[int, bytes]:
        """What the simulated devices remember, by device."""
        return dict(self._db.execute("select client, memory from memories").fetchall())

    def answered(self, client: int, message: bytes | None, refused: str | None, down: int,
                 memory: bytes | None) -> None:
        """Keeps a device's answer, or why it was refused, and what a simulated device remembers."""
        self._db.execute("begin immediate")
        self._db.execute("insert or ignore into answers values (?, ?, ?, ?)",
                         (client, message, refused, down))
        if memory is not None:
            self._db.execute("insert or replace into memories values (?, ?)", (client, memory))
        self._db.execute("commit")

    def closed(self, done: Round, server: Server, figures: Mapping[str, float]) -> None:
        """Keeps a round's end."""
        self._db.execute("begin immediate")
        self._db.execute("insert or replace into model values (1, ?, ?, ?)", (
            server.number, server.model.tobytes(),
            None if server.common is None else server.common.tobytes()))
        self._db.executemany("insert or replace into known values (?, ?, ?)", (
            (c, server.known[c].held.tobytes(),
             None if (common := server.known[c].common) is None else common.tobytes())
            for c in done.clients))
        self._db.execute("insert or replace into rounds values (?, ?, ?)", (
            done.number, done.to_json(), json.dumps(dict(figures))))
        self._db.execute("delete from answers")
        self._db.execute("commit")

    def rounds(self) -> list[tuple[Round, dict[str, float]]]:
        """All rounds that are closed: their accounts and figures."""
        return _rounds(self._db)


def _rounds(db: sqlite3.Connection) -> list[tuple[Round, dict[str, float]]]:
    return [(Round.from_json(account), json.loads(figures)) for account, figures in
            db.execute("select account, figures from rounds order by number")]


def read_rounds(path: Path) -> list[tuple[Round, dict[str, float]]]:
    """The rounds of the run in a folder. Raises DataError where there is none."""
    file = path / FILE
    if not file.is_file():
        raise DataError(f"{path} holds no run ({FILE} is not there)")
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return _rounds(db)
    except sqlite3.Error as error:
        raise DataError(f"{file} can't be read: {error}") from error
