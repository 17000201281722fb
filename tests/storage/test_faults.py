"""Every fault either heals or raises a StorageError: never a wrong byte, never half a file under a final name.

``pytest -s`` shows how many faults of which kind healed and how many raised.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import Exchange, Fault, FaultProxy
from range_server import RangeServer, range_server
from scenes import OPTIONS, Attempt, Scene
from servers import Server
from witness import on_disk, use_profiles

from shipway.components.common import storage
from shipway.components.common.errors import IntegrityError, ShipwayError, StorageError, StorageUnavailable
from shipway.components.common.storage.capabilities import _KNOWN, PROBE_PREFIX

SEED = 4
LEAST_FAULTS = 200
LISTINGS = 60
LONGEST_SECONDS = 25.0
MIB = 1 << 20
STALL_SECONDS = 1.0

# Name, how often it is tried with each operation, and the fault; at 0 stands for a random byte.
KINDS: tuple[tuple[str, int, Fault], ...] = (
    ("bit flipped in an answer", 5, Fault("flip")),
    ("bit flipped in every answer", 1, Fault("flip", times=10_000)),
    ("bit flipped in a request", 5, Fault("flip", side="request")),
    ("answer cut", 2, Fault("cut")),
    ("answer reset", 2, Fault("reset")),
    ("answer stalled", 1, Fault("stall")),
    ("answer lost", 2, Fault("cut", -1)),
    ("request cut", 2, Fault("cut", side="request")),
    ("request reset", 1, Fault("reset", side="request")),
    ("request stalled", 1, Fault("stall", side="request")),
    ("request refused", 1, Fault("reset", -1, side="request")),
    ("503", 1, Fault("status", status=503)),
    ("429, three times", 1, Fault("status", status=429, retry_after="1", times=3)),
)
FILES = {"model/weights.bin": 5 * MIB + 70_001, "model/config.json": 700, "labels.txt": 40_000, "a/b/c.bin": 9}
TINY = {"one.txt": 11, "two/three.txt": 222, "two/four.txt": 3}
SIZES = {"large": 10 * MIB + 70_001, "small": 150_001}

READS: dict[str, Callable[[Scene], Attempt]] = {
    "get_file large": lambda scene: scene.read("large"),
    "get_file small": lambda scene: scene.read("small"),
}
DIRECTORY_READS: dict[str, Callable[[Scene], Attempt]] = {
    **READS,
    "download directory": lambda scene: scene.read_directory("plain"),
    "download version": lambda scene: scene.read_directory("published"),
    "replicate from": Scene.replicate_from,
}
WRITES: dict[str, Callable[[Scene], Attempt]] = {
    "put_bytes": lambda scene: scene.write("small", at_once=True),
    "put_file": lambda scene: scene.write("large"),
    "upload directory": Scene.write_directory,
    "publish_version": Scene.publish,
    "replicate to": Scene.replicate_to,
}
OPERATIONS = DIRECTORY_READS | WRITES
# What is known of the state of an upload in parts, fake-gcs-server tells wrong.
STORES = {"web": READS, "seaweedfs": OPERATIONS, "fake-gcs": DIRECTORY_READS, "gcs-stub": WRITES}
CASES = [(store, operation) for store, operations in STORES.items() for operation in operations]

Results = dict[tuple[str, str, str], collections.Counter[str]]


@pytest.fixture(scope="module")
def results() -> Results:
    return collections.defaultdict(collections.Counter)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, and as ``published`` the version that they become."""
    directory, rng = tmp_path_factory.mktemp("faults"), random.Random(SEED)
    contents = {name: rng.randbytes(size) for name, size in SIZES.items()}
    contents |= {f"version/{name}": rng.randbytes(size) for name, size in FILES.items()}
    contents |= {f"tiny/{name}": rng.randbytes(size) for name, size in TINY.items()}
    for name, data in contents.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    storage.publish_version(directory / "version", str(directory / "published"))
    (directory / "targets").mkdir()
    return directory


@pytest.fixture(scope="module")
def scenes(start: Callable[[str], Server], disk: Path) -> Iterator[Callable[[str], Scene]]:
    """Returns the scene of a store by its name."""
    made: dict[str, Scene] = {}
    with pytest.MonkeyPatch.context() as patch, range_server() as web:
        patch.setenv("SHIPWAY_STATE_DIR", str(disk / "state"))

        def scene(name: str) -> Scene:
            if name in made:
                return made[name]
            server: Server | RangeServer = web if name == "web" else start(name)
            host, _, port = server.url.removeprefix("http://").partition(":")
            proxy = FaultProxy(host, int(port))
            bucket, root, put = "", proxy.url, lambda _, key, data: web.objects.update({key: data})
            if isinstance(server, Server):
                bucket, put = server.new_bucket(), server.put
                root = f"{server.scheme}://{bucket}"
            for directory, place in (
                ("source", ""),
                ("plain", "version"),
                ("published", "published"),
                ("tiny", "tiny"),
            ):
                for file in SIZES if directory == "source" else on_disk(disk / place):
                    put(bucket, f"{directory}/{file}", (disk / place / file).read_bytes())
            made[name] = Scene(server, bucket, root, proxy, disk)
            ways = [(one.server, one.root, one.proxy.url) for one in made.values()]
            use_profiles(patch, disk / "profiles.yaml", ways, STALL_SECONDS)
            return made[name]

        yield scene
        for one in made.values():
            one.proxy.__exit__()


def planned(fault: Fault, recorded: list[Exchange], rng: random.Random) -> Fault | None:
    """Returns the fault for a random exchange of an undisturbed run; None where none has such a body."""
    anywhere = fault.at < 0 or fault.kind == "status"
    sizes = [getattr(each, f"{fault.side}_bytes") for each in recorded]
    possible = [index for index, size in enumerate(sizes) if anywhere or size]
    if not possible:
        return None
    chosen = rng.choice(possible)
    method = recorded[chosen].method
    nth = 1 if fault.times > 100 else sum(recorded[index].method == method for index in possible if index <= chosen)
    return dataclasses.replace(fault, method=method, nth=nth, at=-1 if anywhere else rng.randrange(sizes[chosen]))


def outcome(attempt: Attempt, fault: Fault, proxy: FaultProxy) -> str:
    """Runs it with the fault; returns ``healed`` or ``raised``, after looking at every byte."""
    proxy.plan(fault)
    started = time.monotonic()
    try:
        attempt.run()
    except StorageError:
        ended = "raised"
    else:
        ended = "healed"
    assert time.monotonic() - started < LONGEST_SECONDS
    proxy.plan()
    found = attempt.found()
    allowed = {name: (data, attempt.before.get(name)) for name, data in attempt.wanted.items()}
    damaged = {name for name, data in found.items() if name in allowed and data not in allowed[name]}
    assert not damaged, f"silent corruption: {ended}, {wrong(found, attempt.wanted)}"
    if ended == "raised":
        assert "MANIFEST.json" not in found or found == attempt.wanted, "half a version is published"
        attempt.run()
        found = attempt.found()
    assert found == attempt.wanted, f"{ended}, and then {wrong(found, attempt.wanted)}"
    return ended


def wrong(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return ", ".join(f"{name}: {len(found.get(name, b''))} bytes of {len(wanted.get(name, b''))}" for name in names)


@pytest.mark.parametrize(("store", "operation"), CASES)
def test_every_fault_heals_or_raises(
    scenes: Callable[[str], Scene], results: Results, store: str, operation: str
) -> None:
    scene, rng = scenes(store), random.Random(f"{SEED} {store} {operation}")
    for _ in range(2):  # what is asked once for a store is not asked again
        attempt = OPERATIONS[operation](scene)
        scene.proxy.plan()
        attempt.run()
        assert attempt.found() == attempt.wanted
    recorded, failures = scene.proxy.exchanges, []
    for kind, times, fault in KINDS:
        if store == "web" and fault.times > 100:
            continue  # two readings that are damaged alike, and no checksum: nobody can tell
        for _ in range(times):
            one = planned(fault, recorded, rng)
            if one is None:
                break
            try:
                ended = outcome(OPERATIONS[operation](scene), one, scene.proxy)
            except (AssertionError, ShipwayError) as error:
                failures.append(f"{store}, {operation}, {kind}, {one}: {error!r}"[:1000])
                continue
            results[store, operation, kind][ended] += bool(one.hits)
        scene.tidy()
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(("store", "listing"), [("seaweedfs", "list-type=2"), ("gcs-stub", "/o?")])
def test_a_damaged_listing_is_no_other_directory(
    scenes: Callable[[str], Scene], results: Results, store: str, listing: str
) -> None:
    scene, rng = scenes(store), random.Random(SEED)
    scene.proxy.plan()
    scene.read_directory("tiny").run()
    size = next(exchange.response_bytes for exchange in scene.proxy.exchanges if listing in exchange.path)
    for _ in range(LISTINGS):
        fault = Fault("flip", rng.randrange(size), path=listing)
        ended = outcome(scene.read_directory("tiny"), fault, scene.proxy)
        results[store, "listing", "bit flipped in a listing"][ended] += fault.hits
    scene.tidy()


@pytest.mark.parametrize("kind", ["status", "flip"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_probe_that_fails_says_nothing_of_the_store(scenes: Callable[[str], Scene], kind: str, nth: int) -> None:
    scene = scenes("seaweedfs")
    source, target = scene.disk / "version", f"{scene.root}/{scene.fresh()}"
    _KNOWN.clear()
    scene.proxy.plan(Fault(kind, 0, side="request", method="PUT", path=PROBE_PREFIX, nth=nth, times=10_000))
    with contextlib.suppress(IntegrityError, StorageUnavailable):
        storage.publish_version(source, target, options=dataclasses.replace(OPTIONS, retry_seconds=1))
    scene.proxy.plan()
    storage.publish_version(source, target, options=OPTIONS)
    scene.tidy()


def test_that_they_were_many(results: Results) -> None:
    columns = [(store, end) for store in STORES for end in ("healed", "raised")]
    print(f"\n{'':28}" + "".join(f"{' '.join(column):>18}" for column in columns))
    totals: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for (store, _, kind), counts in results.items():
        totals[kind, store] += counts
    for kind in dict.fromkeys(kind for _, _, kind in results):
        print(f"{kind:28}" + "".join(f"{totals[kind, store][end]:18}" for store, end in columns))
    faults = sum(sum(counts.values()) for counts in results.values())
    print(f"{faults} faults healed or raised")
    if {(store, operation) for store, operation, _ in results} >= set(CASES):
        assert faults >= LEAST_FAULTS
