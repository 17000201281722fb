"""Local endpoints with real server processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving_support import FIXTURES, ask, release_at, write_variant

from shipway.components.common.errors import ConflictError, DeploymentError, InputError
from shipway.serving import endpoints
from shipway.serving.client import EndpointClient
from shipway.serving.processes import ServerProcess

ROW = {"distance": 1.0, "wind": 0.5, "carrier": "AA"}
DEPLOY = """
import json, sys
from shipway.serving import endpoints
endpoints.deploy("flights", json.loads(sys.argv[1]))
"""
pytestmark = pytest.mark.usefixtures("state")


@pytest.fixture
def first(tmp_path: Path) -> dict[str, Any]:
    return release_at(tmp_path / "first", FIXTURES / "binary")


@pytest.fixture
def second(tmp_path: Path) -> dict[str, Any]:
    return release_at(tmp_path / "second", FIXTURES / "binary_other")


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, Any]:
    model = write_variant("binary", tmp_path / "broken_model", labels=["1"] * 8)
    return release_at(tmp_path / "broken", model)


def served(record: dict[str, Any]) -> str:
    return EndpointClient(record["url"], record["name"]).model_digest()


def running(pid: int) -> bool:
    return ServerProcess.of(pid).running


def test_deploy_list_stop(first: dict[str, Any], state: Path) -> None:
    record = endpoints.deploy("flights", first)
    assert record["release"] == first
    assert record["previous_release"] is None
    assert record["undo"] == "shipway endpoints stop flights"
    assert served(record) == first["model_digest"]
    assert ask(record["predict_url"], {"instances": [ROW]})[0] == 200
    assert json.loads((state / "endpoints/flights/endpoint.json").read_text()) == record
    manifest = yaml.safe_load(Path(record["manifest"]).read_text())
    assert manifest["spec"]["predictor"]["model"]["storageUri"] == f"file://{first['uri']}/model/"
    assert endpoints.endpoints() == [{**record, "status": "up"}]
    assert endpoints.describe("flights")["status"] == "up"
    assert addresses_listening_on(record["port"]) == {f"0100007F:{record['port']:04X}"}
    assert os.getsid(record["pid"]) == record["pid"]
    check_that_the_same_release_changes_nothing(record)
    endpoints.stop("flights")
    assert not running(record["pid"])
    assert endpoints.endpoints() == []
    assert sorted(p.name for p in (state / "endpoints").iterdir()) == [".flights.lock"]
    with pytest.raises(InputError, match="no endpoint 'flights'; registered: none"):
        endpoints.stop("flights")


def addresses_listening_on(port: int) -> set[str]:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f[1] for f in listening if f[3] == "0A" and int(f[1].partition(":")[2], 16) == port}


def check_that_the_same_release_changes_nothing(record: dict[str, Any]) -> None:
    assert endpoints.deploy("flights", record["release"])["pid"] == record["pid"]
    assert endpoints.deploy("flights", record["release"], record["port"])["pid"] == record["pid"]
    assert endpoints.describe("flights") == {**record, "status": "up"}


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


class Load:
    """Clients that ask without pause: some on kept-alive connections, some on a new one each time."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.port, self.path = record["port"], f"/v1/models/{record['name']}:predict"
        self.results: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(keep,)) for keep in (True, False, False)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, keep: bool) -> None:
        body = json.dumps({"instances": [ROW]})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("POST", self.path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                self.results[response.headers["x-shipway-model-digest"] if response.status == 200 else "bad"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.results[repr(error)] += 1
                connection.close()
            if not keep:
                connection.close()


def test_a_new_release_replaces_the_old_one_without_losing_a_request(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    before = endpoints.deploy("flights", first)
    with Load(before) as load:
        after = endpoints.deploy("flights", second)
        wait_until(lambda: load.results[second["model_digest"]] > 50)
    assert set(load.results) == {first["model_digest"], second["model_digest"]}
    assert min(load.results.values()) > 50
    assert (after["url"], after["release"], after["previous_release"]) == (before["url"], second, first)
    assert after["undo"] == "shipway rollback flights"
    assert not running(before["pid"])
    assert served(after) == second["model_digest"]


def test_rollback(first: dict[str, Any], second: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints.deploy("flights", first)
    with pytest.raises(InputError, match="no previous release"):
        endpoints.rollback("flights")
    endpoints.deploy("flights", second)
    # At 3 a.m. nobody knows which interpreter the last deployment had.
    monkeypatch.delenv(endpoints.PYTHON_VARIABLE)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    back = endpoints.rollback("flights")
    assert (served(back), back["release"], back["previous_release"]) == (first["model_digest"], first, second)


def test_a_release_that_fails_leaves_the_old_one_serving(first: dict[str, Any], broken: dict[str, Any]) -> None:
    before = endpoints.deploy("flights", first)
    with pytest.raises(DeploymentError, match="golden requests") as failure:
        endpoints.deploy("flights", broken)
    assert "exit code 5" in str(failure.value)
    assert endpoints.describe("flights") == {**before, "status": "up"}
    assert served(before) == first["model_digest"]
    assert endpoints.deploy("flights", first)["pid"] == before["pid"]


def test_a_first_release_that_fails_leaves_nothing(broken: dict[str, Any], state: Path) -> None:
    with pytest.raises(DeploymentError):
        endpoints.deploy("flights", broken)
    assert endpoints.endpoints() == []
    assert not (state / "endpoints/flights").exists()


@pytest.fixture
def stranger() -> Iterator[int]:
    """Somebody else's server; it shares its port with who asks the kernel to."""
    code = (
        "import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1);"
        "s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1], flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        process.kill()


def test_a_busy_port_is_somebody_elses(first: dict[str, Any], stranger: int) -> None:
    with pytest.raises(ConflictError, match=rf"port {stranger} of 127.0.0.1 is in use by process \d+ \(.*python"):
        endpoints.deploy("flights", first, stranger)
    assert endpoints.endpoints() == []


def test_two_endpoints_and_one_port(first: dict[str, Any], second: dict[str, Any]) -> None:
    one = endpoints.deploy("one", first)
    with pytest.raises(ConflictError, match=f"port {one['port']}"):
        endpoints.deploy("two", second, one["port"])
    two = endpoints.deploy("two", second)
    assert (served(one), served(two)) == (first["model_digest"], second["model_digest"])
    assert endpoints.stop_all() == ["one", "two"]
    assert not running(one["pid"])
    assert not running(two["pid"])


def test_new_code_and_another_port_serve_the_same_release_anew(
    first: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = endpoints.deploy("flights", first)
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}{os.pathsep}{tmp_path}")
    renewed = endpoints.deploy("flights", first)
    assert (renewed["url"], renewed["previous_release"]) == (before["url"], None)
    assert not running(before["pid"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    moved = endpoints.deploy("flights", first, port)
    assert (moved["url"], moved["previous_release"]) == (f"http://127.0.0.1:{port}", None)
    assert served(moved) == first["model_digest"]
    assert not running(renewed["pid"])


def test_a_crashed_server_is_down_and_comes_back_at_its_url(first: dict[str, Any]) -> None:
    before = endpoints.deploy("flights", first)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: endpoints.describe("flights")["status"] == "down")
    after = endpoints.deploy("flights", first)
    assert after["url"] == before["url"]
    assert served(after) == first["model_digest"]


def test_a_pid_that_another_process_has_now_is_left_alone(first: dict[str, Any], state: Path) -> None:
    record = endpoints.deploy("flights", first)
    os.kill(record["pid"], signal.SIGKILL)
    with subprocess.Popen(["sleep", "100"]) as innocent:
        file = state / "endpoints/flights/endpoint.json"
        file.write_text(json.dumps({**record, "pid": innocent.pid}))
        assert endpoints.describe("flights")["status"] == "down"
        endpoints.stop("flights")
        assert innocent.poll() is None
        innocent.kill()


def test_a_deployment_killed_halfway_leaves_no_second_server(
    first: dict[str, Any], second: dict[str, Any], state: Path
) -> None:
    record = endpoints.deploy("flights", first)
    strays = state / "endpoints/flights/strays.json"
    with subprocess.Popen([sys.executable, "-c", DEPLOY, json.dumps(second)]) as deployment:
        wait_until(strays.exists)
        deployment.kill()
    stray = json.loads(strays.read_text())[0]
    assert running(stray["pid"])
    assert endpoints.deploy("flights", first)["pid"] == record["pid"]
    assert not running(stray["pid"])
    assert served(record) == first["model_digest"]
    assert not strays.exists()


def test_deployments_of_one_endpoint_wait_for_each_other(first: dict[str, Any], second: dict[str, Any]) -> None:
    deployments = [subprocess.Popen([sys.executable, "-c", DEPLOY, json.dumps(r)]) for r in (first, second)]
    assert [deployment.wait(60) for deployment in deployments] == [0, 0]
    record = endpoints.describe("flights")
    assert {record["release"]["digest"], record["previous_release"]["digest"]} == {first["digest"], second["digest"]}
    assert served(record) == record["release"]["model_digest"]


@pytest.mark.parametrize("name", ["", "Flights", "../flights", "a" * 64, "-a", "a_b", "a/b"])
def test_impossible_names(first: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match="cannot name an endpoint"):
        endpoints.deploy(name, first)


def test_releases_elsewhere_and_impossible_ports(first: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not on this machine"):
        endpoints.deploy("flights", {**first, "uri": "s3://models/flights/1"})
    with pytest.raises(InputError, match="the port is 65536"):
        endpoints.deploy("flights", first, 65536)


def test_no_serving_environment(first: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(endpoints.PYTHON_VARIABLE)
    with pytest.raises(InputError, match=endpoints.PYTHON_VARIABLE):
        endpoints.deploy("flights", first)
