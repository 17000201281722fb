"""Release, deploy, smoke test, promote, with real servers."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from serving_support import FIXTURES, write_variant

from shipway.components.common.errors import ConflictError, DataRejected, DeploymentError, InputError
from shipway.components.lifecycle import deployment, releases
from shipway.serving import endpoints, parity
from shipway.serving.client import EndpointClient

pytestmark = pytest.mark.usefixtures("state")


@pytest.fixture
def release(tmp_path: Path, evaluated: Callable[..., Path], schema: Path) -> Callable[[Path], Path]:
    def create(model: Path) -> Path:
        artifact = tmp_path / "releases" / model.name
        arguments = (model, evaluated(model), schema, artifact, "flights", str(tmp_path / "repository"))
        releases.create_release(*arguments)
        return artifact

    return create


def digest(artifact: Path) -> str:
    return str(json.loads((artifact / "release.json").read_text())["model_digest"])


def served() -> str:
    return EndpointClient(endpoints.describe("flights")["url"], "flights").model_digest()


def test_the_way_of_two_releases(tmp_path: Path, release: Callable[[Path], Path]) -> None:
    first, second = release(FIXTURES / "binary"), release(FIXTURES / "binary_other")
    repository, endpoint = str(tmp_path / "repository"), tmp_path / "endpoint"

    record = deployment.deploy_model(first, endpoint, "flights")
    assert json.loads((endpoint / "endpoint.json").read_text()) == record
    manifest = yaml.safe_load((endpoint / "inferenceservice.yaml").read_text())
    assert manifest["metadata"]["annotations"]["shipway/model-digest"] == digest(first)
    result = deployment.smoke_test(endpoint, first)
    assert result["golden_requests"] == 8
    assert result["largest_difference"] < 1e-5
    assert 0 < result["milliseconds_per_request"] < 1000
    alias = deployment.promote_model(first, endpoint, repository, expected_champion="")
    assert alias["generation"] == 1
    with pytest.raises(ConflictError, match="by now, not none"):
        deployment.promote_model(*deploy_and_test(second, endpoint), repository, expected_champion="")
    assert deployment.promote_model(second, endpoint, repository, alias["uri"])["generation"] == 2

    with pytest.raises(DeploymentError, match="it serves the model"):
        deployment.promote_model(first, endpoint, repository)
    with pytest.raises(DeploymentError, match="nothing was rolled back"):
        deployment.smoke_test(endpoint, first, rollback_on_failure=False)
    # The endpoint serves another release than the one that failed: that one is not to blame.
    with pytest.raises(DeploymentError, match="meanwhile, which was left alone"):
        deployment.smoke_test(endpoint, first)
    assert served() == digest(second)


def deploy_and_test(release: Path, endpoint: Path) -> tuple[Path, Path]:
    deployment.deploy_model(release, endpoint, "flights")
    deployment.smoke_test(endpoint, release)
    return release, endpoint


def test_a_failed_smoke_test_puts_the_previous_release_back(tmp_path: Path, release: Callable[[Path], Path]) -> None:
    first, second = release(FIXTURES / "binary"), release(FIXTURES / "binary_other")
    endpoint = tmp_path / "endpoint"
    deploy_and_test(first, endpoint)
    record = deployment.deploy_model(second, endpoint, "flights")
    os.kill(record["pid"], signal.SIGKILL)
    with pytest.raises(DeploymentError, match="did not answer.*rolled back to the release " + record_id(first)):
        deployment.smoke_test(endpoint, second)
    assert served() == digest(first)
    os.kill(endpoints.describe("flights")["pid"], signal.SIGKILL)


def record_id(artifact: Path) -> str:
    return str(json.loads((artifact / "release.json").read_text())["release"])


def test_a_failed_first_release_is_stopped(
    tmp_path: Path, release: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Served by a model that answers the smoke test's requests otherwise: the release says so, the server did not look.
    artifact, endpoint = release(FIXTURES / "binary"), tmp_path / "endpoint"
    deployment.deploy_model(artifact, endpoint, "flights")
    golden = deployment.read_golden(FIXTURES / "binary")
    other = dataclasses.replace(golden, scores=tuple(tuple(reversed(row)) for row in golden.scores))
    monkeypatch.setattr(parity, "read_golden", lambda _: other)
    with pytest.raises(DeploymentError, match=r"over v1 answers the golden request 0.*the endpoint was stopped"):
        deployment.smoke_test(endpoint, artifact)
    assert endpoints.endpoints() == []


def test_a_release_that_fails_to_start(tmp_path: Path, release: Callable[[Path], Path]) -> None:
    endpoint = tmp_path / "endpoint"
    good = release(FIXTURES / "binary")
    deployment.deploy_model(good, endpoint, "flights")
    bad = release(write_variant("binary", tmp_path / "bad", labels=["1"] * 8))
    with pytest.raises(DeploymentError, match="does not answer its golden requests"):
        deployment.deploy_model(bad, tmp_path / "never", "flights")
    assert not (tmp_path / "never").exists()
    deployment.smoke_test(endpoint, good)


def test_an_altered_release_is_not_deployed(tmp_path: Path, release: Callable[[Path], Path]) -> None:
    artifact = release(FIXTURES / "binary")
    uri = Path(json.loads((artifact / "release.json").read_text())["uri"])
    (uri / "model/extra").write_text("x")
    with pytest.raises(DataRejected, match="model/extra"):
        deployment.deploy_model(artifact, tmp_path / "endpoint", "flights")
    assert endpoints.endpoints() == []


def test_targets(tmp_path: Path, release: Callable[[Path], Path]) -> None:
    with pytest.raises(InputError, match="the target 'moon' is unknown; it can be: local"):
        deployment.deploy_model(release(FIXTURES / "binary"), tmp_path / "endpoint", "flights", target="moon")


def serving(answers: dict[str, object]) -> Iterator[str]:
    """Serves fixed JSON, in the place of a server that answers wrongly."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps(answers[self.path.rpartition("/")[2]]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (the library's names)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def golden_answer(spoil: Callable[[list[dict[str, object]]], object]) -> dict[str, object]:
    description, golden = deployment.read_model(FIXTURES / "binary"), deployment.read_golden(FIXTURES / "binary")
    predictions: list[dict[str, object]] = [
        {"label": label, "scores": dict(zip(description.label_names, row, strict=True))}
        for label, row in zip(golden.labels, golden.scores, strict=True)
    ]
    spoil(predictions)
    return {"flights": {"versions": [description.digest]}, "flights:predict": {"predictions": predictions}}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda predictions: predictions[1]["scores"].update({"1": float("nan")}), "the golden request 1 otherwise"),
        (lambda predictions: predictions[1]["scores"].update({"1": None}), "none of the v1 protocol"),
        (lambda predictions: predictions[1].pop("label"), "none of the v1 protocol"),
        (lambda predictions: predictions.pop(), "other rows or classes"),
    ],
    ids=["NaN in the second place", "a null score", "no label", "a row less"],
)
def test_a_wrong_200_fails_the_smoke_test_and_takes_the_release_out_of_service(
    tmp_path: Path, release: Callable[[Path], Path], spoil: Callable[..., object], words: str
) -> None:
    artifact, endpoint = release(FIXTURES / "binary"), tmp_path / "endpoint"
    record = deployment.deploy_model(artifact, endpoint, "flights")
    for url in serving(golden_answer(spoil)):
        (endpoint / "endpoint.json").write_text(json.dumps({**record, "url": url}))
        with pytest.raises(DeploymentError, match=f"{words}.*was stopped, as it has no previous"):
            deployment.smoke_test(endpoint, artifact)
    assert endpoints.endpoints() == []
