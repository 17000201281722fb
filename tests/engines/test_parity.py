"""Real servers, one for each engine that this environment has, answer alike over every protocol, or it is told."""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from engines_support import NATIVE

from shipway.components.common.errors import DeploymentError, InputError
from shipway.components.common.model import read_golden
from shipway.serving.parity import PROTOCOLS, Server, check_parity


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts a server; returns what it is asked as."""
    started = []

    def start(model, engine):
        ready = tmp_path_factory.mktemp("ready") / "ready.json"
        options = ["--name", "flowers", "--engine", engine, "--port", "0", "--grpc-port", "0"]
        command = [sys.executable, "-m", "shipway.serving.server", "--model-dir", str(model), *options]
        process = subprocess.Popen([*command, "--ready-file", str(ready)])
        started.append(process)
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.02)
        ports = json.loads(ready.read_text())
        url, grpc_address = f"http://127.0.0.1:{ports['port']}", f"127.0.0.1:{ports['grpc_port']}"
        return Server(url, "flowers", engine, grpc_address=grpc_address)

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)


@pytest.fixture(scope="module")
def server(serve, model):
    return serve(model, "onnxruntime")


def test_every_engine_over_every_protocol(serve, server, model):
    servers = [server, *(serve(model, engine) for engine in ("auto", *NATIVE))]
    found = check_parity(model, servers)
    asked = [(each.name, protocol) for each in servers for protocol in (*PROTOCOLS, "grpc")]
    assert [(agreement.server, agreement.protocol) for agreement in found] == asked
    assert all(agreement.largest_difference < 1e-5 for agreement in found)


def v1(response, head_length):
    predictions = json.loads(response)
    scores = predictions["predictions"][3]["scores"]
    scores[next(iter(scores))] += 0.001
    return json.dumps(predictions).encode()


def v2(response, head_length):
    value = json.loads(response)
    labels = next(output for output in value["outputs"] if output["name"] == "label")
    labels["data"][3] += "?"
    return json.dumps(value).encode()


def binary(response, head_length):
    """Flips the least bit of the exponent of the fourth row's first score: scores follow the JSON."""
    changed = bytearray(response)
    changed[int(head_length) + 3 * 8 + 3] ^= 1
    return bytes(changed)


@contextlib.contextmanager
def tampering(server, protocol, tamper):
    """A server that passes everything on and changes the answers over one protocol."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = urllib.request.Request(server.url + self.path, body, dict(self.headers))
            with urllib.request.urlopen(request, timeout=20) as response:
                answer, header = response.read(), response.headers["Inference-Header-Content-Length"]
            kind = "v1" if self.path.startswith("/v1") else "v2 (binary)" if header else "v2"
            answer = tamper(answer, header) if kind == protocol else answer
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            if header:
                self.send_header("Inference-Header-Content-Length", header)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as between:
        threading.Thread(target=between.serve_forever, daemon=True).start()
        yield Server(f"http://127.0.0.1:{between.server_port}", "flowers", "between")
        between.shutdown()


@pytest.mark.parametrize(("protocol", "tamper"), [("v1", v1), ("v2", v2), ("v2 (binary)", binary)])
def test_one_tampered_answer_is_caught(server, model, protocol, tamper):
    with tampering(server, protocol, tamper) as between:
        others = [name for name in PROTOCOLS if name != protocol]
        assert check_parity(model, [Server(between.url, "flowers", "between", others)])
        words = f"between over {protocol} answers the golden request 3 otherwise".replace("(", r"\(").replace(
            ")", r"\)"
        )
        with pytest.raises(DeploymentError, match=words):
            check_parity(model, [server, between])


def test_a_server_of_another_model_over_grpc(serve, trained):
    other = serve(trained[1], "onnxruntime")
    assert read_golden(trained[0]).instances == read_golden(trained[1]).instances
    with pytest.raises(DeploymentError, match=r"other over grpc answers the golden request \d+ otherwise"):
        check_parity(trained[0], [Server(other.url, "flowers", "other", (), other.grpc_address)])


def test_servers_that_do_not_answer(server, model):
    with pytest.raises(DeploymentError, match="did not answer"):
        check_parity(model, [Server("http://127.0.0.1:1", "flowers")])
    with pytest.raises(DeploymentError, match="did not answer over gRPC: UNAVAILABLE"):
        check_parity(model, [Server(server.url, "flowers", grpc_address="127.0.0.1:1")])
    with pytest.raises(DeploymentError, match="answered 404"):
        check_parity(model, [Server(server.url, "nobody")])
    with pytest.raises(DeploymentError, match="did not answer over gRPC: NOT_FOUND"):
        check_parity(model, [Server(server.url, "nobody", protocols=(), grpc_address=server.grpc_address)])
    with pytest.raises(InputError, match="there is no protocol 'v3'; it can be v1, v2"):
        check_parity(model, [Server(server.url, "flowers", protocols=("v3",))])
