"""Runs the fuzzers one after another, or several at once, and says what they found.

`python -m tests.fuzz [--seconds 180] [--jobs 1] [--seed 1] [--folder build/fuzz] [READER ...]`
shares the seconds out evenly. Ends with 1 where an input broke the law: any input gives a result
or one of the project's own errors, within ten seconds and a gigabyte. The input and the trace then
lie in FOLDER/findings/READER, and small ones are printed; mend the fault and put the input into
tests/fuzz/corpus/READER.
"""

import argparse
import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.readers import READERS

MAX_PRINTED_BYTES = 2048


def fuzz(name: str, seconds: int, folder: Path, seed: int) -> tuple[str, dict[str, object]]:
    """One reader's account; `exit` is not 0 where libFuzzer ended the process."""
    (folder / f"{name}.json").unlink(missing_ok=True)
    with (folder / f"{name}.log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.one", name, str(seconds), str(folder), str(seed)],
            stdout=log, stderr=subprocess.STDOUT, check=False)
    account = folder / f"{name}.json"
    found = json.loads(account.read_text()) if account.exists() else {}
    return name, {**found, "exit": done.returncode}


def told(findings: Path) -> str:
    """Each finding's trace, and its input as base64 where a screen can hold it."""
    texts = []
    for found in sorted(findings.glob("*")):
        data = found.read_bytes()
        if found.suffix == ".txt":
            texts += [data.decode()]
        elif len(data) <= MAX_PRINTED_BYTES:
            texts += [f"{found.name} in base64: {base64.b64encode(data).decode()}"]
    return "\n".join(texts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(READERS))
    given = parser.parse_args()
    if find_spec("atheris") is None:
        print("fuzzing needs atheris: pip install --group fuzz")  # noqa: T201
        return 2
    names = given.readers or list(READERS)
    if unknown := set(names) - set(READERS):
        parser.error(f"there is no reader {', '.join(sorted(unknown))}")
    given.folder.mkdir(parents=True, exist_ok=True)
    seconds = max(1, given.seconds * given.jobs // len(names))
    broken = total = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for name, account in pool.map(lambda n: fuzz(n, seconds, given.folder, given.seed), names):
            total += int(str(account.get("inputs", 0)))
            wrong = account["exit"] != 0 or account.get("findings", 1) != 0
            broken += wrong
            print(f"{name:14} {'BROKEN' if wrong else 'holds':6} {account}", flush=True)  # noqa: T201
            if wrong:
                print(told(given.folder / "findings" / name), flush=True)  # noqa: T201
    print(f"{total} inputs, {broken} of {len(names)} readers break the law; "  # noqa: T201
          f"findings lie in {given.folder / 'findings'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
