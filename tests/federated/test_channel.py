"""The channel: devices and a server in processes and threads of their own give the bits of the
simulation, whoever is killed; strangers are refused."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.federated.small import parts, plan

from ganglion import federated as fed
from ganglion.errors import DataError, TrustError
from ganglion.federated.channel.host import Host, Register
from ganglion.federated.channel.service import serve
from ganglion.federated.device import light
from ganglion.federated.device.light import Key, Link, take_part

SETTINGS = {"rounds": 3, "up": fed.TopK(0.2), "down": fed.TopK(0.3), "method": fed.Scaffold(),
            "correction": True}
DEVICES = 3
ROOT = Path(__file__).parents[2]


def keys(folder: Path, count: int = DEVICES) -> list[Key]:
    register = Register(folder)
    made = [register.enroll(f"cam-{k}") for k in range(count)]
    register.close()
    return made


@contextmanager
def served(folder: Path, hosts: list[Host], certificate: str = "",
           **settings: object) -> Iterator[str]:
    """A server in a thread; its address. What becomes of the run stands in `hosts`."""
    ports: list[int] = []
    secured = {"certificate": folder / f"{certificate}.pem", "key": folder / f"{certificate}.key"}

    def make() -> Host:
        hosts.append(Host(plan(**SETTINGS), folder, DEVICES, **settings))
        return hosts[-1]

    thread = threading.Thread(target=serve, args=(make,), daemon=True, kwargs={
        "port": 0, "ready": ports.append, **(secured if certificate else {})})
    thread.start()
    while not ports:
        time.sleep(0.01)
    yield f"http{'s' if certificate else ''}://localhost:{ports[0]}"
    thread.join(30)
    assert not thread.is_alive()


def join(url: str, key: Key, part: fed.Part, folder: Path, failures: list[Exception],
         authorities: Path | None = None) -> threading.Thread:
    def run() -> None:
        trainer = plan(**SETTINGS).trainer.another()
        try:
            take_part(Link(url, key, authorities), trainer, *part, folder / key.device)
        except Exception as error:  # noqa: BLE001  what a thread ends with
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def expected(given: list[fed.Part]) -> np.ndarray:
    simulation = fed.Simulation(plan(**SETTINGS), given)
    for _ in range(3):
        simulation.step()
    return simulation.server.model


def test_a_run_over_http_ends_with_the_bits_of_the_simulation(tmp_path: Path) -> None:
    given, hosts, failures = parts(DEVICES), [], []
    made = keys(tmp_path)
    with served(tmp_path, hosts) as url:
        threads = [join(url, key, part, tmp_path, failures) for key, part in zip(made, given)]
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert np.array_equal(hosts[0].server.model, expected(given))


def test_a_device_that_fails_or_stays_away_does_not_hold_the_others_up(tmp_path: Path) -> None:
    given, hosts, failures = parts(DEVICES), [], []
    made = keys(tmp_path)
    given[1] = (np.full_like(given[1][0], np.nan), given[1][1])
    with served(tmp_path, hosts, deadline=0.5) as url:
        with closing(Link(url, made[2])) as link:
            link.post("/join", b'{"rows": %d, "artefact": "%s"}' % (
                len(given[2][1]), plan(**SETTINGS).trainer.digest.encode()))
        for key, part in zip(made[:2], given):
            join(url, key, part, tmp_path, failures)
        while hosts[0].server is None or not hosts[0].over:
            time.sleep(0.02)
    accounts = [done for done, _ in fed.read_rounds(tmp_path)]
    assert [done.clients for done in accounts] == [(0,)] * 3
    assert all("NaN" in done.refused[1] for done in accounts)
    assert all("no answer within 0.5 s" in done.refused[2] for done in accounts)


SERVER = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
from pathlib import Path
from tests.federated.small import plan
from tests.federated.test_channel import DEVICES, SETTINGS
from ganglion.federated.channel.host import Host
from ganglion.federated.channel.service import serve
serve(lambda: Host(plan(**SETTINGS | {{"rounds": 12}}), Path(sys.argv[1]), DEVICES),
      port=int(sys.argv[2]), ready=lambda port: print(port, flush=True))
"""
DEVICE = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
from pathlib import Path
from tests.federated.small import parts, plan
from tests.federated.test_channel import DEVICES, SETTINGS
from ganglion.federated.device.light import Key, Link, take_part
k = int(sys.argv[3])
take_part(Link(sys.argv[2], Key.read(Path(sys.argv[1]) / f"{{k}}.key")), plan(**SETTINGS).trainer,
          *parts(DEVICES)[k], Path(sys.argv[1]) / str(k), on_round=lambda n: print(n, flush=True))
"""


def start(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], text=True,
                            stdout=subprocess.PIPE)


@pytest.mark.slow
def test_server_and_devices_killed_at_drawn_moments_end_with_the_same_bits(tmp_path: Path) -> None:
    for k, key in enumerate(keys(tmp_path)):
        (tmp_path / f"{k}.key").write_text(key.text())
    server = start(SERVER, tmp_path, 0)
    port = int(server.stdout.readline())
    url = f"http://127.0.0.1:{port}"
    running = {k: start(DEVICE, tmp_path, url, k) for k in range(DEVICES)}
    draw = np.random.default_rng(0)
    for who in (0, DEVICES, 1, DEVICES, 2, 0):
        time.sleep(draw.uniform(0.5, 1.5))
        victim = server if who == DEVICES else running[who]
        victim.kill()
        victim.wait()
        victim.stdout.close()
        if who == DEVICES:
            server = start(SERVER, tmp_path, port)
        else:
            running[who] = start(DEVICE, tmp_path, url, who)
    for process in (*running.values(), server):
        assert process.wait(120) == 0
        process.stdout.close()
    simulation = fed.Simulation(plan(**SETTINGS | {"rounds": 12}), parts(DEVICES))
    done = [simulation.step()[0] for _ in range(12)]
    kept = fed.Simulation(plan(**SETTINGS | {"rounds": 12}), parts(DEVICES), run=tmp_path)
    assert np.array_equal(kept.server.model, simulation.server.model)
    assert [r.clients for r, _ in fed.read_rounds(tmp_path)] == [r.clients for r in done]


def test_strangers_and_replayed_requests_are_refused(tmp_path: Path) -> None:
    given, hosts, failures = parts(DEVICES), [], []
    made = keys(tmp_path)
    with served(tmp_path, hosts) as url:
        for stranger in (Key("cam-9", bytes(32)), Key("cam-0", bytes(32))):
            with pytest.raises(TrustError, match="enroll"), closing(Link(url, stranger)) as link:
                link.post("/join", b"{}")
        seen: list[tuple[str, bytes]] = []

        class Heard(Link):
            def _once(self, path: str, body: bytes) -> tuple[int, bytes]:
                seen.append((self._key.sign(self._number + 1, path, body), body))
                return super()._once(path, body)

        with (pytest.raises(DataError, match="copy the run's artefact"),
              closing(Heard(url, made[0])) as link):
            link.post("/join", b'{"rows": 5, "artefact": "other"}')
        with pytest.raises(DataError, match="more than"), closing(Link(url, made[0])) as link:
            link.post("/work", bytes(10_000))
        proof, body = seen[-1]
        again = light.http.client.HTTPConnection(url.removeprefix("http://"))
        again.request("POST", "/join", body, {"G": f"cam-0 {1} {proof}"})
        assert again.getresponse().status == 409
        again.close()
        for key, part in zip(made, given):
            join(url, key, part, tmp_path, failures)
        while hosts[0].server is None or not hosts[0].over:
            time.sleep(0.02)
    assert failures == []


def test_a_wrong_certificate_is_refused_and_the_right_one_taken(tmp_path: Path) -> None:
    for name in ("right", "wrong"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-days", "2", "-keyout",
                        str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")],
                       check=True, capture_output=True)
    made, given, hosts, failures = keys(tmp_path), parts(DEVICES), [], []
    with served(tmp_path, hosts, "right") as url:
        with (pytest.raises(TrustError, match="not trusted"),
              closing(Link(url, made[0], tmp_path / "wrong.pem")) as link):
            link.post("/join", b"{}")
        threads = [join(url, *each, tmp_path, failures, tmp_path / "right.pem")
                   for each in zip(made, given)]
        for each in threads:
            each.join(60)
    assert failures == []
    assert np.array_equal(hosts[0].server.model, expected(given))


def test_a_name_is_given_once_and_is_a_plain_word(tmp_path: Path) -> None:
    register = Register(tmp_path)
    register.enroll("cam-1")
    with pytest.raises(DataError, match="another name"):
        register.enroll("cam-1")
    for name in ("", "a b", "../x", "ü"):
        with pytest.raises(DataError, match="letters"):
            register.enroll(name)
    register.close()


def test_a_key_comes_back_from_its_file(tmp_path: Path) -> None:
    key = Key("cam-1", bytes(range(32)))
    (tmp_path / "key").write_text(key.text())
    assert Key.read(tmp_path / "key") == key
    (tmp_path / "key").write_text("{}")
    with pytest.raises(DataError, match="no device's key"):
        Key.read(tmp_path / "key")


def test_the_light_client_needs_numpy_and_the_runtime_alone() -> None:
    code = ("import sys, ganglion.federated.device.light\n"
            "print(sorted({m.split('.')[0] for m in sys.modules} & {'onnx', 'onnx_ir', 'jinja2', "
            "'sklearn', 'flwr', 'starlette', 'uvicorn', 'cryptography', 'h5py'}))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
