"""Starting, changing and stopping routes; wrong ones are refused before anything runs."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from routing_support import Client, Load, eventually, listening, nobody, route_of

from shipway.components.common.errors import ConflictError, DeploymentError, InputError
from shipway.serving.processes import ServerProcess
from shipway.serving.routing import router
from shipway.serving.routing.route import Arm, Route

A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"
ARMS = (Arm("a", A, 90), Arm("b", B, 10))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Route"}, "'Route' cannot name a route"),
        ({"name": "../etc"}, "cannot name a route"),
        ({"arms": []}, "two to 4 arms"),
        ({"arms": [Arm("a", A, 100)]}, "two to 4 arms"),
        ({"arms": [Arm(name, A, 20) for name in "abcde"]}, "two to 4 arms"),
        ({"arms": [Arm("a", A, 50), Arm("a", B, 50)]}, "different names"),
        ({"arms": [Arm("a+b", A, 50), Arm("b", B, 50)]}, r"'a\+b' cannot name an arm"),
        ({"arms": [Arm("a", A, 50), Arm("b", B, 49)]}, r"sum to 99 \(a 50, b 49\); they must sum to 100"),
        ({"arms": [Arm("a", A, 110), Arm("b", B, -10)]}, "the arm a is 110; it must be a whole number from 0 to 100"),
        ({"arms": [Arm("a", A, 99.5), Arm("b", B, 0.5)]}, "whole number"),
        ({"arms": [Arm("a", A, True), Arm("b", B, 99)]}, "whole number"),
        ({"arms": [Arm("a", "https://h:1", 90), Arm("b", B, 10)]}, "arm a is 'https://h:1'; it must be http://host"),
        ({"arms": [Arm("a", "", 90), Arm("b", B, 10)]}, "arm a is ''; it must be http://host:port"),
        ({"arms": [Arm("a", "http://h", 90), Arm("b", B, 10)]}, "http://host:port"),
        ({"arms": [Arm("a", "http://h:99999", 90), Arm("b", B, 10)]}, "http://host:port"),
        ({"arms": [Arm("a", "http://h:1/v1", 90), Arm("b", B, 10)]}, "http://host:port"),
        ({"arms": [Arm("a", "http://u:p@h:1", 90), Arm("b", B, 10)]}, "http://host:port"),
        ({"arms": [Arm("a", A, 90, grpc_url=A), Arm("b", B, 10)]}, "some have none"),
        ({"arms": [Arm("a", A, 90, "x"), Arm("b", B, 10, A)]}, "'x'; it must be http://host:port"),
        ({"sticky": "x-user"}, "header:NAME, cookie:NAME"),
        ({"sticky": "header:"}, "header:NAME, cookie:NAME"),
        ({"sticky": "cookie:a b"}, "header:NAME, cookie:NAME"),
        ({"sticky": "ip:x"}, "header:NAME, cookie:NAME"),
        ({"force_header": "a:b"}, "'a:b' cannot name a header"),
        ({"mirror": "b"}, "mirror is 'b'; it must name an arm whose weight is 0, one of which there is none"),
        ({"mirror": "c"}, "mirror is 'c'"),
        ({"timeout_seconds": 0}, "from 0.001 to 3600"),
        ({"timeout_seconds": float("nan")}, "from 0.001 to 3600"),
    ],
)
def test_a_wrong_route_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        Route(**{"name": "r", "arms": ARMS, **fields})


def test_new_weights_name_each_arm_and_sum_to_100(state):
    record = router.start(Route("r", ARMS))
    for weights, said in (
        ({"a": 100}, "given for a; the route r needs one for each of a, b"),
        ({"a": 50, "b": 30, "c": 20}, "needs one for each of a, b"),
        ({"a": 50, "b": 51}, "sum to 101"),
    ):
        with pytest.raises(InputError, match=said):
            router.set_weights("r", weights)
    assert router.status("r") == record


def test_a_route_that_runs_is_not_started_again(state):
    record = router.start(Route("r", ARMS))
    with pytest.raises(ConflictError, match="the route r runs already; change it with `shipway route set r`"):
        router.start(Route("r", ARMS))
    assert router.routes() == [record]


def test_a_port_in_use_is_told_before_anything_starts(state):
    first = router.start(Route("r", ARMS))
    with pytest.raises(ConflictError, match=f"port {first['port']} of 127.0.0.1 is in use by process {first['pid']}"):
        router.start(Route("other", ARMS), port=first["port"])
    assert [record["route"]["name"] for record in router.routes()] == ["r"]
    assert not (state / "routes" / "other").exists()
    with pytest.raises(InputError, match="the port is 65536"):
        router.start(Route("other", ARMS), port=65536)


def test_a_host_of_another_machine_is_refused(state):
    for host in ("192.0.2.1", "no address"):
        with pytest.raises(InputError, match=f"cannot listen on '{host}'"):
            router.start(Route("r", ARMS), host=host)
    assert not (state / "routes" / "r").exists()


def test_a_router_that_does_not_come_up_leaves_nothing(state, tmp_path):
    envoy = tmp_path / "envoy"
    envoy.write_text("#!/bin/sh\necho the last words >&2\n")
    envoy.chmod(0o755)
    with pytest.raises(DeploymentError, match=r"route r did not come up; its log ends with:\n  the last words"):
        router.start(Route("r", ARMS), python=str(tmp_path / "python"))
    assert router.routes() == []
    assert not (state / "routes" / "r").exists()


def test_without_the_routing_environment_it_says_what_is_missing(state, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="is not the interpreter of a routing environment"):
        router.start(Route("r", ARMS), python=str(tmp_path / "python"))
    with monkeypatch.context() as changed:
        changed.delenv(router.PYTHON_VARIABLE)
        with pytest.raises(InputError, match="SHIPWAY_PYTHON_ROUTING must name"):
            router.start(Route("r", ARMS))


def test_a_route_that_there_is_not(state):
    router.start(Route("r", ARMS))
    for act in (router.status, router.stop, lambda name: router.set_weights(name, {})):
        with pytest.raises(InputError, match="there is no route 'q'; registered: r"):
            act("q")


def test_a_router_that_was_killed_is_down_and_can_be_started_again(state, plain_arm):
    route = route_of(plain_arm("stable").url, plain_arm("canary").url)
    first = router.start(route)
    os.kill(first["pid"], signal.SIGKILL)
    assert eventually(lambda: router.status("r")["status"] == "down")
    with pytest.raises(DeploymentError, match=r"the route r is down, see .*router.log; start it again"):
        router.set_weights("r", {"stable": 50, "canary": 50})
    again = router.start(route, port=first["port"])
    assert again["url"] == first["url"]
    assert Client(again["url"]).post().status == 200


def test_a_router_that_hangs_keeps_its_weights(state, plain_arm, monkeypatch):
    route = route_of(plain_arm("stable").url, plain_arm("canary").url, 0)
    record = router.start(route)
    monkeypatch.setattr("shipway.serving.routing.admin._TIMEOUT_SECONDS", 0.5)
    os.kill(record["pid"], signal.SIGSTOP)
    try:
        with pytest.raises(DeploymentError, match="does not answer"):
            router.set_weights("r", {"stable": 0, "canary": 100})
    finally:
        os.kill(record["pid"], signal.SIGCONT)
    assert router.status("r")["route"] == record["route"]
    client = Client(record["url"])
    time.sleep(0.5)
    assert {client.arm() for _ in range(20)} == {"stable"}


def test_it_listens_on_this_machine_alone_and_only_its_user_may_administrate(state):
    record = router.start(Route("r", ARMS))
    assert listening(record["pid"]) == {"0100007F"}
    directory = state / "routes" / "r"
    assert stat.S_IMODE((directory / "admin.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    answer = Client(record["metrics_url"].removesuffix("/metrics")).post(path="/quitquitquit")
    assert answer.status == 404


def test_stopping_waits_for_the_last_answer_and_leaves_nothing(state, plain_arm):
    slow = plain_arm("stable", wait_seconds=1)
    record = router.start(route_of(slow.url, plain_arm("canary").url, 0))
    got = []
    asking = threading.Thread(target=lambda: got.append(Client(record["url"]).post().status))
    asking.start()
    assert eventually(lambda: len(slow.got) == 1)
    router.stop("r")
    asking.join()
    assert got == [200]
    assert not ServerProcess(record["pid"], record["pid_started"]).running
    assert router.routes() == []
    assert os.listdir(state / "routes") == [".lock"]
    with pytest.raises(OSError, match="refused"):
        Client(record["url"]).post()


def test_stopping_under_load_breaks_no_request_off(state, plain_arm):
    record = router.start(route_of(plain_arm("stable").url, plain_arm("canary").url, 50))
    with Load(record["url"], b"x") as load:
        assert eventually(lambda: sum(load.answers.values()) > 100)
        router.stop("r")
    assert set(load.answers) == {("stable", 200), ("canary", 200)}
    assert load.failures
    # What the kernel had not handed over when listening ended is reset: no request that the router had.
    unheard = {f"{error} on a new connection" for error in ("ConnectionRefusedError", "ConnectionResetError")}
    assert set(load.failures) <= unheard


def test_all_routes_can_be_stopped(state):
    pids = [router.start(Route(name, ARMS))["pid"] for name in ("one", "two")]
    assert router.stop_all() == ["one", "two"]
    assert not any(Path(f"/proc/{pid}").exists() and ServerProcess.of(pid).running for pid in pids)


def test_hosts_are_looked_up(state, plain_arm):
    arm = plain_arm("stable")
    record = router.start(route_of(arm.url.replace("127.0.0.1", "localhost"), nobody(), 0))
    assert Client(record["url"]).arm() == "stable"


def test_what_it_starts_with_is_a_configuration_that_envoy_takes_without_a_warning(state):
    arms = [Arm(name, A, weight, B) for name, weight in (("a", 50), ("b", 50), ("c", 0), ("mirror", 0))]
    record = router.start(Route("r", arms, sticky="cookie:visitor", mirror="mirror"))
    directory = Path(record["log"]).parent
    envoy = Path(os.environ[router.PYTHON_VARIABLE]).with_name("envoy")
    command = [envoy, "--mode", "validate", "-c", "envoy.json", "--reject-unknown-dynamic-fields"]
    checked = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    router.set_weights("r", {"a": 20, "b": 70, "c": 10, "mirror": 0})
    lines = [line for line in (directory / "router.log").read_text().splitlines() if "no configured limit" not in line]
    assert lines == []
    assert json.loads((directory / "table.json").read_text())["version_info"] == "2"
