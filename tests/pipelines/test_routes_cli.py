"""``shipway route``: from the first split to the last, and wrong use with exit code 2."""

import http.server
import json
import os
import threading
import urllib.request

import pytest


class Arm(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def arm():
    """A server's URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Arm) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def route(shipway, tmp_path):
    """Runs ``shipway route`` with a state directory of the test's own."""
    variables = {**os.environ, "SHIPWAY_STATE_DIR": str(tmp_path / "state")}
    yield lambda *arguments: shipway("route", *arguments, env=variables)
    shipway("route", "stop", "--all", env=variables)


def answering(url):
    with urllib.request.urlopen(f"{url}/v1/models/m:predict", b"x", timeout=10) as response:
        return response.headers["x-shipway-arm"]


def test_a_route_from_start_to_stop(route, arm):
    assert route().stdout == "no routes; `shipway route start` makes one\n"
    options = ["--mirror", "shadow", "--sticky", "header:x-user-id", "--timeout-seconds", "5", "--json"]
    arms = [option for text in (f"stable={arm}=100", f"canary={arm}", f"shadow={arm}=0") for option in ("--arm", text)]
    done = route("start", "m", *arms, *options)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["route"]["sticky"], record["route"]["mirror"]) == ("header:x-user-id", "shadow")
    assert {answering(record["url"]) for _ in range(10)} == {"stable"}
    changed = route("set", "m", "stable=0", "canary=100", "shadow=0")
    assert changed.stdout.split() == [
        *["m", "up", record["url"], "stable", "0", "%,", "canary", "100", "%,", "shadow", "0", "%,"],
        *["copies", "to", "shadow"],
    ]
    assert {answering(record["url"]) for _ in range(10)} == {"canary"}
    assert json.loads(route("list", "--json").stdout)[0]["pid"] == record["pid"]
    assert route("stop", "m").stdout == "stopped m\n"
    assert route("list").stdout.startswith("no routes")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["start", "m"], "two to 4 arms"),
        (["start", "m", "--arm", "a", "--arm", "b"], "it must be http://host:port"),
        (["start", "m", "--arm", "a=http://h:1=many"], "'many' is no whole number of percent"),
        (["start", "m", "--arm", "a=http://h:1=90", "--arm", "b=http://h:2=20"], "they must sum to 100"),
        (
            ["start", "m", "--arm", "a=http://h:1=90", "--arm", "b=http://h:2=10", "--grpc", "c=http://h:3"],
            "--grpc names c",
        ),
        (["start", "m", "--arm", "a=http://h:1=90", "--grpc", "a"], "--grpc takes NAME=URL, not 'a'"),
        (["set", "m", "a=100"], "there is no route 'm'; registered: none"),
        (["set", "m", "a"], "weights are ARM=PERCENT, not 'a'"),
        (["stop"], "name one route or give --all"),
        (["stop", "m", "--all"], "name one route or give --all"),
    ],
)
def test_wrong_use_says_what_is_wrong(route, arguments, said):
    done = route(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
