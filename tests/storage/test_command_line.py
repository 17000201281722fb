"""The verbs of ``shipway storage``, against real servers."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from range_server import range_server
from servers import ACCESS_KEY, SECRET_KEY
from witness import on_disk, stored, use_profiles

from shipway.components.common.storage import command_line

MIB = 1 << 20
FILES = {"a.csv": b"a\n" + b"1\n" * 100_000, "deep/b.bin": bytes(range(256)) * 20, "deep/empty": b""}


class Shop:
    """Two stores with a fresh directory each, a directory of files, and the command line."""

    def __init__(self, start, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.servers = {"s3": start("seaweedfs"), "gs": start("fake-gcs")}
        self.buckets = {scheme: server.new_bucket() for scheme, server in self.servers.items()}
        self.base = uuid.uuid4().hex[:12]
        self.home = home
        for name, data in FILES.items():
            (home / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (home / "files" / name).write_bytes(data)
        ways = [(server, f"{scheme}://", server.url) for scheme, server in self.servers.items()]
        use_profiles(patch, home / "profiles.yaml", ways, stall_seconds=10)

    def uri(self, scheme: str, name: str = "") -> str:
        return f"{scheme}://{self.buckets[scheme]}/{self.base}{name and '/'}{name}"

    def found(self, scheme: str, directory: str = "") -> dict[str, bytes]:
        return stored(self.servers[scheme], self.buckets[scheme], f"{self.base}/{directory}".rstrip("/"))

    def put(self, scheme: str, name: str, data: bytes) -> None:
        self.servers[scheme].put(self.buckets[scheme], f"{self.base}/{name}", data)


@pytest.fixture
def shop(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHIPWAY_STATE_DIR", str(tmp_path / "state"))
    return Shop(start, tmp_path, monkeypatch)


def shipway(*arguments, expect=0):
    """Runs the command line and returns what it printed: the result, or what was wrong."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["shipway storage", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as exit_:
            command_line.main()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert (exit_.value.code or 0) == expect, out.getvalue() + err.getvalue()
    assert "Traceback" not in err.getvalue()
    return err.getvalue() if expect else out.getvalue()


def shipway_json(*arguments):
    return json.loads(shipway(*arguments, "--json"))


@pytest.mark.parametrize("verb", ["", "ls", "cp", "verify", "replicate", "publish", "profile"])
def test_help_teaches_with_examples(verb):
    told = shipway(*filter(None, [verb]), "--help")
    assert f"shipway storage {verb or 'cp'} s3://" in told or "shipway storage publish model s3://" in told


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_directory_goes_up_and_comes_down_again(shop, scheme):
    told = shipway("cp", "files", shop.uri(scheme, "x"))
    assert shop.found(scheme, "x") == FILES
    assert re.search(r"^3 files, 0\.2 MiB, 0 unchanged; 0\.2 MiB moved in .* s \(.* MiB/s\)$", told, re.MULTILINE)
    again = shipway_json("cp", "files", shop.uri(scheme, "x"))
    assert (again["files"], again["unchanged"], again["moved_bytes"]) == (3, 3, 0)
    shipway("cp", shop.uri(scheme, "x"), "copy")
    assert on_disk(shop.home / "copy") == FILES
    (shop.home / "copy" / "mine").write_bytes(b"mine")
    (shop.home / "copy" / "a.csv").write_bytes(b"old")
    assert shipway_json("cp", shop.uri(scheme, "x"), "copy")["unchanged"] == 2
    assert on_disk(shop.home / "copy") == {**FILES, "mine": b"mine"}


def test_from_store_to_store(shop):
    shipway("cp", "files", shop.uri("s3", "x"))
    first = shipway_json("cp", shop.uri("s3", "x/"), shop.uri("gs", "y"), "--workers", 2, "--part-mib", 5)
    assert (first["files"], first["bytes"], first["unchanged"]) == (3, sum(map(len, FILES.values())), 0)
    assert shop.found("gs", "y") == FILES
    assert shipway_json("cp", shop.uri("s3", "x/"), shop.uri("gs", "y"))["unchanged"] == 3


def test_a_slash_at_the_end_means_into(shop):
    shipway("cp", "files/a.csv", f"{shop.uri('s3')}/")
    shipway("cp", "files", f"{shop.uri('s3')}/")
    assert sorted(shop.found("s3")) == ["a.csv", *(f"files/{name}" for name in FILES)]
    shipway("cp", shop.uri("s3", "a.csv"), "new/")
    shipway("cp", shop.uri("s3", "files/"), "new/")
    assert on_disk(shop.home / "new") == {"a.csv": FILES["a.csv"], **{f"files/{k}": v for k, v in FILES.items()}}
    shipway("cp", shop.uri("s3", "a.csv"), "new/other.csv", "-q")
    assert (shop.home / "new" / "other.csv").read_bytes() == FILES["a.csv"]


def test_from_the_web(shop):
    with range_server() as server:
        server.objects["some%20data.bin?token=secret"] = b"x" * 1000
        shipway("cp", f"{server.url}/some%20data.bin?token=secret", "./")
    assert (shop.home / "some data.bin").read_bytes() == b"x" * 1000


def test_what_is_there(shop):
    shipway("publish", "files", shop.uri("s3", "models/v1"))
    shop.put("s3", "models/draft/a", b"1")
    shop.put("s3", "models/readme", b"read me")
    models = shop.uri("s3", "models")
    assert shipway("ls", models).splitlines() == ["draft/", "readme", "v1/   (published)"]
    assert shipway("ls", "-r", models).splitlines() == [
        "draft/a",
        "readme",
        *(f"v1/{name}" for name in ["MANIFEST.json", *FILES]),
    ]
    lines = shipway("ls", "-l", f"{models}/v1").splitlines()
    assert re.fullmatch(r" +200,002  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (crc32c|md5):\S+ +a\.csv", lines[1])
    assert re.fullmatch(r" +-  - +- +deep/", lines[2])
    assert lines[-1].startswith("3 entries, 0.2 MiB")
    assert shipway("ls", f"{models}/readme") == "readme\n"
    found = {entry["name"]: entry for entry in shipway_json("ls", "-l", models)}
    assert found["v1/"] == {"name": "v1/", "uri": f"{models}/v1/", "directory": True, "published": True}
    assert found["draft/"]["published"] is False
    assert found["readme"]["size"] == 7
    assert found["readme"]["checksums"]
    assert [entry["name"] for entry in shipway_json("ls", shop.home / "files")] == ["a.csv", "deep/"]


def test_nothing_there(shop):
    told = shipway("ls", shop.uri("s3", "nothing"), expect=6)
    assert told.startswith(f"shipway: ObjectNotFound: {shop.uri('s3', 'nothing')}")
    shipway("cp", shop.uri("s3", "nothing"), "copy", expect=6)
    shipway("cp", "nothing", shop.uri("s3", "x"), expect=2)
    shipway("ls", "ftp://host/x", expect=2)
    assert not (shop.home / "copy").exists()


def test_a_version_is_published_verified_and_replicated(shop):
    here, there = shop.uri("s3", "v1"), shop.uri("gs", "v1")
    first = shipway_json("publish", "files", here)
    assert first["created"] is True
    again = shipway_json("publish", "files", here)
    assert (again["created"], again["digest"], again["moved_bytes"]) == (False, first["digest"], 0)
    assert f"{there} is published now: {first['digest']}" in shipway("replicate", here, there)
    assert "was published already" in shipway("replicate", here, there)
    assert "3 files" in shipway("verify", there)
    assert shipway_json("verify", there, "--deep")["digest"] == first["digest"]
    assert shipway("verify", there, "-q") == ""
    (shop.home / "files" / "a.csv").write_bytes(b"changed")
    assert "VersionConflictError" in shipway("publish", "files", here, expect=4)


@pytest.mark.parametrize(
    ("deep", "changed", "fault"),
    [
        ([], FILES["a.csv"] + b"2\n", "has 200,004 bytes instead of 200,002"),
        (["--deep"], FILES["a.csv"].replace(b"a", b"b"), "has sha256 "),
    ],
)
def test_what_differs_is_listed(shop, deep, changed, fault):
    version = shop.uri("s3", "v1")
    shipway("publish", "files", version)
    shop.put("s3", "v1/a.csv", changed)
    shop.put("s3", "v1/more", b"more")
    told = shipway("verify", version, *deep, expect=6)
    assert "IntegrityError" in told
    assert f"a.csv {fault}" in told
    assert "more is not in the MANIFEST.json" in told
    assert shipway("verify", shop.uri("s3", "v2"), expect=6).startswith("shipway: ObjectNotFound")


def test_the_profile_is_shown_without_secrets(shop):
    told = shipway("profile", shop.uri("s3"), "--probe")
    assert SECRET_KEY not in told
    assert ACCESS_KEY not in told
    assert re.search(rf"^endpoint_url +{shop.servers['s3'].url}$", told, re.MULTILINE)
    assert re.search(r"^secret_key +\(set\)$", told, re.MULTILINE)
    assert re.search(r"^conditional_create +True$", told, re.MULTILINE)
    assert shop.found("s3") == {}
    found = shipway_json("profile", shop.uri("gs"))
    assert found["profile"]["anonymous"] is True
    assert found["capabilities"] is None
    assert "no profile" in shipway("profile", shop.home)


def test_a_deadline_and_wrong_options(shop):
    (shop.home / "large").write_bytes(bytes(30 * MIB))
    slow = ("--limit-mib-per-second", 5, "--deadline-seconds", 1, "--part-mib", 5, "--workers", 2)
    assert "run it again to go on" in shipway("cp", "large", shop.uri("s3", "large"), *slow, expect=75)
    shipway("cp", "large", shop.uri("s3", "large"), "--workers", 0, expect=2)
    shipway("cp", "large", expect=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("up", [True, False])
def test_stopped_it_goes_on_where_it_was(shop, number, up):
    content = bytes(MIB) * 30
    if up:
        (shop.home / "large").write_bytes(content)
    else:
        shop.put("s3", "large", content)
    ends = ["large", shop.uri("s3", "large")] if up else [shop.uri("s3", "large"), "large"]
    module = [sys.executable, "-m", command_line.__name__]
    command = [*module, "cp", *ends, "--limit-mib-per-second", "10", "--part-mib", "5", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(3)
        process.send_signal(number)
        told, wrong = process.communicate(timeout=30)
    assert process.returncode == 143, told + wrong
    assert wrong == f"shipway: Preempted: stopped by {number.name}; run the same command again to go on where it was\n"
    rest = shipway_json("cp", *ends, "--part-mib", 5, "--workers", 2)
    assert rest["moved_bytes"] < 25 * MIB
    assert (shop.found("s3")["large"] if up else (shop.home / "large").read_bytes()) == content
