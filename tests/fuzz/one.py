"""One fuzzer as a process of its own: `python -m tests.fuzz.one READER SECONDS FOLDER SEED`.

What it finds goes to FOLDER/findings, what reached new code to FOLDER/READER. It goes on behind a
finding; a crash of the interpreter or an input that never ends is left to libFuzzer, which stores
the input and ends the process.
"""

import hashlib
import json
import random
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ganglion"]):
    from tests.fuzz.readers import (
        MAX_RESIDENT_BYTES,
        MAX_SECONDS,
        READERS,
        Reader,
        accepts_or_explains,
    )

CORPUS = Path(__file__).parent / "corpus"


class Watcher:
    """Calls the reader and keeps account."""

    def __init__(self, reader: Reader, findings: Path, account: Path) -> None:
        self.reader, self.findings, self.account = reader, findings, account
        self.tried = self.accepted = 0
        self.slowest = 0.0
        self.seen: set[str] = set()

    def __call__(self, data: bytes) -> None:
        start = time.process_time()
        try:
            self.accepted += accepts_or_explains(self.reader, data)
        except Exception as error:  # noqa: BLE001 - the law is that there is none
            self._note(data, f"{type(error).__name__}: {error}", traceback.format_exc(), error)
        took = time.process_time() - start
        self.slowest = max(self.slowest, took)
        if took > MAX_SECONDS:
            self._note(data, f"took {took:.0f} s of the processor", "")
        self.tried += 1
        if self.tried % 200 == 0:
            self.write()

    def _note(self, data: bytes, what: str, trace: str, error: Exception | None = None) -> None:
        """Each place that raises is noted once."""
        frame = traceback.extract_tb(error.__traceback__)[-1] if error is not None else None
        place = f"{type(error).__name__} {frame.filename}:{frame.lineno}" if frame else what
        if place in self.seen or len(self.seen) > 100:
            return
        self.seen.add(place)
        name = hashlib.sha256(data).hexdigest()[:12]
        (self.findings / name).write_bytes(data)
        (self.findings / f"{name}.txt").write_text(f"{what}\n{place}\n\n{trace}")
        sys.stderr.write(f"FOUND {name}: {place}: {what[:300]}\n")

    def write(self) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.account.write_text(json.dumps({
            "inputs": self.tried, "accepted": self.accepted, "slowest_s": round(self.slowest, 2),
            "peak_mb": peak >> 20, "findings": len(self.seen)}))


def main(name: str, seconds: int, folder: Path, seed: int) -> None:
    reader = READERS[name]
    findings, corpus, start = folder / "findings" / name, folder / name, folder / f"{name}-seeds"
    for each in (findings, corpus, start):
        each.mkdir(parents=True, exist_ok=True)
    for data in reader.seeds():
        (start / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    warnings.simplefilter("ignore")
    watcher = Watcher(reader, findings, folder / f"{name}.json")

    def change(data: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if reader.mutate is None or not data or rng.random() < 0.4:
            return bytes(atheris.Mutate(data, size))
        changed = reader.mutate(data, rng)
        return changed if len(changed) <= size else data

    kept = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", f"-max_len={reader.max_bytes}", f"-seed={seed}",
         f"-timeout={3 * int(MAX_SECONDS)}", "-print_final_stats=1", "-verbosity=0",
         f"-rss_limit_mb={MAX_RESIDENT_BYTES >> 20}", f"-artifact_prefix={findings}/",
         str(corpus), str(start), *kept], watcher, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
