"""The lock of images: what it holds, and how digests come into it, over real HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_double import INDEX, MANIFEST, Registry, running_registry

from shipway.components.common.errors import InputError, IntegrityError, TransientError
from shipway.pipelines import doctor
from shipway.pipelines.images import LOCK, Image, component_of, read_lock, write_lock
from shipway.pipelines.pinning import digest_of, main, pinned

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as running:
        yield running


@pytest.fixture
def lock(tmp_path: Path, registry: Registry) -> Path:
    path = tmp_path / "images.lock"
    images = {
        "shipway/serving": Image.of("shipway/serving:0.1.0"),
        "other/server": Image.of(f"{registry.host}/other/server:2.1"),
    }
    write_lock(images, path)
    return path


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("tensorflow/serving:2.19.1", Image("", "tensorflow/serving", "2.19.1")),
        ("r.example/a/b_c/d-e:v1.0-rc.1", Image("r.example", "a/b_c/d-e", "v1.0-rc.1")),
        (f"localhost:5000/a:1@{DIGEST}", Image("localhost:5000", "a", "1", DIGEST)),
        ("localhost/a:1", Image("localhost", "a", "1")),
        ("127.0.0.1:5000/a:1", Image("127.0.0.1:5000", "a", "1")),
    ],
)
def test_a_reference_is_read_and_written(text: str, image: Image):
    assert Image.of(text) == image
    assert str(image) == text


@pytest.mark.parametrize(
    "text", ["a/b", "a/b:latest", "A/b:1", "a/b:1@sha256:12", f"a/b@{DIGEST}", "https://r.example/a:1", "a/b: 1", ""]
)
def test_what_is_no_exact_image_is_refused(text: str):
    with pytest.raises(InputError, match="no image with an exact tag"):
        Image.of(text)


@pytest.mark.parametrize("kind", [INDEX, MANIFEST])
@pytest.mark.parametrize("token", [True, False])
def test_a_tag_has_the_digest_of_its_manifest(registry: Registry, kind: str, token: bool):
    registry.token = token
    digest = registry.put("team/server", "1.0", kind)
    assert digest_of(Image(registry.host, "team/server", "1.0")) == digest
    assert len(registry.asked) == (3 if token else 1)


def test_credentials_come_from_netrc(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    digest = registry.put("team/server", "1.0")
    registry.login = ("me", "the-password")
    with pytest.raises(InputError, match=r"gives no token \(HTTP 401\); log in by ~/.netrc"):
        digest_of(Image(registry.host, "team/server", "1.0"))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password the-password\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert digest_of(Image(registry.host, "team/server", "1.0")) == digest


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("wrong-bytes", IntegrityError, "something else than the manifest"),
        ("page", IntegrityError, "something else than the manifest"),
        ("no-realm", InputError, "wants a login"),
        ("no-token", InputError, "gives no token"),
        ("503", TransientError, "answers with 503"),
        ("429", TransientError, "answers with 429"),
    ],
)
def test_no_digest_is_invented(
    registry: Registry, lock: Path, fault: str, error: type[Exception], message: str, capsys: pytest.CaptureFixture[str]
):
    registry.put("other/server", "2.1")
    registry.fault, before = fault, lock.read_text()
    with pytest.raises(error, match=message):
        pinned(read_lock(lock))
    assert main(["--lock", str(lock)]) == error.exit_code
    assert message in capsys.readouterr().err
    assert lock.read_text() == before


def test_nothing_is_written_unless_every_digest_is_known(registry: Registry, lock: Path):
    registry.put("shipway/serving", "0.1.0")
    before = lock.read_text()
    assert main(["--lock", str(lock), "--registry", registry.host]) == InputError.exit_code  # it lacks other/server
    assert lock.read_text() == before
    nobody = {"a": Image("127.0.0.1:1", "a", "1")}
    with pytest.raises(TransientError, match="does not answer"):
        pinned(nobody)


def test_the_projects_own_images_are_asked_for_where_they_were_pushed(registry: Registry, lock: Path):
    """Never anywhere else: on a public registry anybody may have taken the name."""
    other = registry.put("other/server", "2.1")
    own = registry.put("team/shipway/serving", "0.1.0")
    assert main(["--lock", str(lock)]) == 0
    assert read_lock(lock)["shipway/serving"] == Image("", "shipway/serving", "0.1.0")
    assert main(["--lock", str(lock), "--registry", f"{registry.host}/team"]) == 0
    expected = {
        "shipway/serving": Image(registry.host, "team/shipway/serving", "0.1.0", own),
        "other/server": Image(registry.host, "other/server", "2.1", other),
    }
    assert read_lock(lock) == expected
    newer = registry.manifests["other/server:2.1"] = (INDEX, b"{}")
    assert main(["--lock", str(lock)]) == 0
    assert read_lock(lock)["shipway/serving"] == expected["shipway/serving"]
    assert read_lock(lock)["other/server"].digest not in ("", other), newer
    assert sorted(path.name for path in lock.parent.iterdir()) == ["images", "images.lock"]


def test_make_knows_the_target():
    asked = ["make", "--dry-run", "pin-images", "REGISTRY=r.example/team"]
    told = subprocess.run(asked, cwd=LOCK.parents[1], capture_output=True, text=True, check=True).stdout
    assert "-m shipway.pipelines.pinning --registry r.example/team" in told
    module = [sys.executable, "-m", "shipway.pipelines.pinning", "--help"]
    assert "HOST[/PATH]" in subprocess.run(module, capture_output=True, text=True, check=True).stdout


def test_the_component_is_made_of_the_lock():
    assert (LOCK.parent / "images" / "kustomization.yaml").read_text() == component_of(read_lock())


@pytest.mark.parametrize("text", ["", "- a", "a: b", "a: [", "a: b:latest"])
def test_a_malformed_lock_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "images.lock"
    path.write_text(text)
    with pytest.raises(InputError):
        read_lock(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_lock(tmp_path / "missing")


def test_the_doctor_warns_of_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "images.lock"
    path.write_text(f"a: a:1\nb: b:2@{DIGEST}\n")
    monkeypatch.setattr(doctor, "LOCK", path)

    def images() -> dict[str, tuple[str, str]]:
        found = [finding for finding in doctor.examine_machine() if finding.name.startswith("image")]
        return {finding.name: (finding.level, finding.message) for finding in found}

    assert images()["image a"][0] == "note"
    assert "`make pin-images`" in images()["image a"][1]
    assert images()["image b"] == ("ok", f"b:2@{DIGEST}")
    path.write_text("a: a\n")
    assert images()["images"][0] == "lack"
    path.unlink()
    assert images() == {}
