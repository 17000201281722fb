"""An API server for tests, over real HTTP: TrainJobs, their pods and logs, and the bad days of a real one.

What happens in the cluster is a story: a list of functions, one of which is called each time that a TrainJob is looked
at. It knows of objects what a client can see: uid, resourceVersion, generation, conflicts, deletion in the foreground.
"""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import crd
from kubernetes import client

NAMESPACE = "team"
JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"

Story = list[Callable[["KubernetesDouble", dict[str, Any]], None]]


class KubernetesDouble:
    """The server; a context manager.

    Attributes:
        jobs: TrainJobs by name.
        pods: Pods by name, with their log under ``log``: lines with the time that each was written.
        story: What happens at each look at a TrainJob, in order.
        faults: What goes wrong with the next requests: a status; ``drop``: no answer; ``lose``: done, but no answer;
            None: nothing.
        requests: What was asked for.
        log_status: What a request for a log is answered with; 200 gives the log.
        looks_until_gone: How often a deleted TrainJob is still seen.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.story: deque[Callable[[KubernetesDouble, dict[str, Any]], None]] = deque()
        self.faults: deque[int | str | None] = deque()
        self.requests: list[str] = []
        self.looks_until_gone = 1
        self.log_status = 200
        self._versions = itertools.count(1)
        self._clock = itertools.count(1)
        self._lock = threading.Lock()

    def __enter__(self) -> KubernetesDouble:
        double = self

        class Handler(_Handler):
            server_double = double

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def client(self) -> client.ApiClient:
        configuration = client.Configuration(host=f"http://127.0.0.1:{self._server.server_port}")
        configuration.retries = False
        return client.ApiClient(configuration)

    def condition(self, job: dict[str, Any], kind: str, reason: str = "", message: str = "") -> None:
        """Sets a condition of a TrainJob."""
        found = {"type": kind, "status": "True", "reason": reason, "message": message}
        job.setdefault("status", {}).setdefault("conditions", []).append(found)
        job["metadata"]["resourceVersion"] = str(next(self._versions))

    def pod(self, job: str, index: int, attempt: int = 0, **status: Any) -> dict[str, Any]:
        """Starts a pod of a TrainJob, as JobSet labels it."""
        name = f"{job}-node-0-{index}-{uuid.uuid4().hex[:5]}"
        labels = {
            "jobset.sigs.k8s.io/jobset-name": job,
            "jobset.sigs.k8s.io/restart-attempt": str(attempt),
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        metadata = {"name": name, "namespace": NAMESPACE, "uid": uuid.uuid4().hex, "labels": labels}
        self.pods[name] = {"metadata": metadata, "status": {"phase": "Running", **status}, "log": []}
        return self.pods[name]

    def say(self, pod: dict[str, Any], *lines: str) -> None:
        """Adds lines to a pod's log."""
        for line in lines:
            pod["log"].append((f"2026-01-01T00:00:00.{next(self._clock):09d}Z", line))

    def end(self, pod: dict[str, Any], code: int, word: Any = "", reason: str = "Error", second: int = 0) -> None:
        """Ends a pod's container with an exit code and what it left as its last word."""
        message = json.dumps(word) if isinstance(word, dict) else word
        finished = f"2026-01-01T00:00:{second:02d}Z"
        terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": finished}
        pod["status"]["phase"] = "Failed" if code else "Succeeded"
        pod["status"]["containerStatuses"] = [{"name": "node", "state": {"terminated": terminated}}]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        with self._lock:
            self.requests.append(f"{method} {path}")
            if path == JOBS and method == "POST":
                return self._create(body)
            if path.startswith(f"{JOBS}/"):
                return self._job(method, path.rpartition("/")[2])
            if path == PODS:
                name, _, value = query["labelSelector"].partition("=")
                items = [pod for pod in self.pods.values() if pod["metadata"]["labels"].get(name) == value]
                return 200, {
                    "kind": "PodList",
                    "items": [{k: v for k, v in pod.items() if k != "log"} for pod in items],
                }
            if path.startswith(f"{PODS}/") and path.endswith("/log"):
                return self._log(path.split("/")[-2], query)
            return _status(404, f"the server could not find the requested resource {path}")

    def _create(self, manifest: dict[str, Any]) -> tuple[int, Any]:
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            return _status(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
        if crd.available() and (faults := crd.faults_of(manifest)):
            return _status(422, f'TrainJob "{name}" is invalid: {"; ".join(faults)}')
        version = str(next(self._versions))
        metadata = {**manifest["metadata"], "uid": uuid.uuid4().hex, "resourceVersion": version, "generation": 1}
        self.jobs[name] = {**manifest, "metadata": metadata}
        return 201, self.jobs[name]

    def _job(self, method: str, name: str) -> tuple[int, Any]:
        job = self.jobs.get(name)
        if job is None:
            return _status(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        if method == "DELETE":
            job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            job["looks"] = self.looks_until_gone
            return _status(200, "deleting")
        if "looks" in job:
            job["looks"] -= 1
            if job["looks"] < 0:
                del self.jobs[name]
                self.pods.clear()
                return _status(404, "gone")
        elif self.story:
            self.story.popleft()(self, job)
        return (200, job) if name in self.jobs else _status(404, "gone")

    def _log(self, name: str, query: dict[str, str]) -> tuple[int, Any]:
        pod = self.pods.get(name)
        if pod is None:
            return _status(404, "no such pod")
        if self.log_status != 200:
            return _status(self.log_status, "no log today")
        if pod["status"]["phase"] == "Pending":
            return _status(400, f'container "node" in pod "{name}" is waiting to start')
        lines = pod["log"][-int(query.get("tailLines", "1000000")) :]
        shown = [f"{stamp} {line}" if query.get("timestamps") == "true" else line for stamp, line in lines]
        return 200, "".join(f"{line}\n" for line in shown)


def _status(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


class _Handler(BaseHTTPRequestHandler):
    server_double: KubernetesDouble
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        double, parts = self.server_double, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = double.faults.popleft() if double.faults else None
        if isinstance(fault, int):
            self._send(*_status(fault, "not now"), more={"Retry-After": "0"})
            return
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if fault != "drop":
            code, answer = double.answer(self.command, parts.path, query, json.loads(body) if body else None)
        if fault:
            self.close_connection = True
            return
        self._send(code, answer)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def _send(self, code: int, answer: Any, more: dict[str, str] | None = None) -> None:
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
