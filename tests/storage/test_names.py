"""Names and listings, by hypothesis: what is refused, and that every store lists what was put."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from places import Place
from servers import Server

from shipway.components.common.errors import InputError, UnsafeName
from shipway.components.common.storage.uris import check_name, inside, parse_uri, shown

SURROGATES = ("Cs",)
texts = st.text(st.characters(exclude_categories=SURROGATES), min_size=1, max_size=30)
# What directories and prefixes are mistaken for one another with.
parts = st.sampled_from(["v1", "v10", "v1.x", "v1 ", "v", "a", "ä", "V1", "v1-0", "v1+", "v1%2F", "~"])
names = st.lists(parts, min_size=1, max_size=3).map("/".join)


def unsafe(name: str) -> bool:
    """Says it another way than the code does."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return True
    parts = encoded.split(b"/")
    if len(encoded) > 1024 or any(len(part) > 255 or part in (b"", b".", b"..") for part in parts):
        return True
    return any(byte < 32 or byte == 127 for byte in encoded)


@given(
    st.text(st.characters(), max_size=40) | st.lists(st.sampled_from(["..", ".", "", "a", "b c", "é"])).map("/".join)
)
@example("")
@example("/")
@example("a/")
@example("/abs")
@example("..")
@example("a/../../b")
@example("nul\0")
@example("\udcff")
@example("x" * 256)
@example("ü" * 128)
@example("/".join(["x" * 200] * 6))
@example("C:\\x")
@example("..\\x")
def test_a_name_is_refused_or_safe(name: str) -> None:
    if unsafe(name):
        with pytest.raises(UnsafeName, match="s3://bucket holds the name") as caught:
            check_name(name, "s3://bucket")
        assert caught.value.uri == "s3://bucket"
        str(caught.value).encode()
    else:
        assert check_name(name, "s3://bucket") == name
        directory = Path("/base/directory")
        assert os.path.normpath(directory / name) == str(directory / name)
        assert (directory / name).is_relative_to(directory)


@given(texts)
def test_a_safe_name_is_a_file_inside(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    directory = tmp_path_factory.getbasetemp() / "inside"
    if unsafe(name):
        with pytest.raises(UnsafeName):
            inside(directory, name, "gs://bucket")
    else:
        assert inside(directory, name, "gs://bucket") == directory / name


def test_no_link_leads_out(tmp_path: Path) -> None:
    directory, outside = tmp_path / "directory", tmp_path / "outside"
    outside.mkdir()
    (directory / "real").mkdir(parents=True)
    (directory / "out").symlink_to(outside)
    (directory / "up").symlink_to("..")
    (directory / "within").symlink_to("real")
    for name in ("out/x", "out/deep/x", "up/x", "up/outside/x"):
        with pytest.raises(UnsafeName, match="symbolic link"):
            inside(directory, name, "gs://bucket")
    assert inside(directory, "within/x", "gs://bucket") == directory / "within/x"
    assert inside(directory, "new/deep/x", "gs://bucket") == directory / "new/deep/x"


@given(st.sampled_from(["s3", "gs"]), names | texts)
def test_a_uri_says_bucket_and_key(scheme: str, key: str) -> None:
    key = key.strip("/")
    if not key or unsafe(key):
        return
    parsed = parse_uri(f"{scheme}://bucket-1/{key}")
    assert (parsed.scheme, parsed.bucket, parsed.key) == (scheme, "bucket-1", key)
    assert parse_uri(str(parsed)) == parsed
    assert parse_uri(f"{parsed}/") == parsed


@given(texts)
def test_a_path_is_a_file(name: str) -> None:
    if unsafe(name):
        return
    parsed = parse_uri(Path("/data") / name)
    assert (parsed.scheme, parsed.bucket, parsed.key) == ("file", "", f"data/{name}")
    assert parse_uri(str(parsed)) == parsed
    assert parsed.directory / parsed.key == Path("/data") / name


@pytest.mark.parametrize(
    "uri",
    ["", "  ", "s3:/b/k", "S3:b/k", "s3a://b/k", "minio://b/k", "ftp://h/x", "s3://", "s3:///k", "s3://b?x/k",
     "s3://user:hidden@bucket/k", "gs://UP!/x",
     "pvc://Claim/x", "pvc:///x", "file://host/x", "https://user:hidden@host/x", "http://", "https://host:port/x"],
)  # fmt: skip
def test_unusable_uris(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_uri(uri)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://b1/../x", "gs://b1/a//b", "s3://b1//a", "pvc://claim/a/./b", "gs://b1/nul\0"])
def test_unsafe_uris(uri: str) -> None:
    with pytest.raises(InputError, match="has"):
        parse_uri(uri)


@given(texts, texts)
def test_secrets_are_not_shown(user: str, secret: str) -> None:
    if {"/", "@", "?", "#", ":"} & {*user, *secret}:
        return
    secret = f"«{secret}»"
    for uri in (
        f"https://{user}:{secret}@host/path?X-Amz-Signature={secret}#{secret}",
        f"s3://{user}:{secret}@bucket/a",
    ):
        assert secret not in shown(uri)


@pytest.mark.parametrize("server", ["file", "pvc", "moto", "fake-gcs", "seaweedfs"], indirect=True)
def test_listings(server: Server) -> None:
    """Any set of names is listed as it was put, below every directory, once, in order."""

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(st.sets(names, min_size=1, max_size=8))
    def check(wanted: set[str]) -> None:
        # A file system has no file and directory of one name.
        wanted = {name for name in wanted if not any(other.startswith(f"{name}/") for other in wanted)}
        place = Place(server)
        for name in wanted:
            place.put(name)
        directories = {"/".join(name.split("/")[:depth]) for name in wanted for depth in range(4)} | {"v1", "absent"}
        for directory in directories:
            below = f"{directory}/" if directory else ""
            expected = sorted(name for name in wanted if name.startswith(below))
            assert place.names(directory) == expected
            rests = [name.removeprefix(below).partition("/") for name in expected]
            assert place.names(directory, recursive=False) == sorted({below + head + slash for head, slash, _ in rests})

    check()


@pytest.mark.parametrize("server", ["moto", "fake-gcs", "gcs-stub"], indirect=True)
def test_objects_named_like_directories(server: Server) -> None:
    """Object stores know no directories: a name may be both, and neither hides the other."""
    place = Place(server)
    for name in ("m/v1", "m/v1/a", "m/v1/a/b"):
        place.put(name)
    assert place.names("m") == ["m/v1", "m/v1/a", "m/v1/a/b"]
    assert place.names("m/v1") == ["m/v1/a", "m/v1/a/b"]
    assert place.names("m", recursive=False) == ["m/v1", "m/v1/"]
    assert place.names("m/v1", recursive=False) == ["m/v1/a", "m/v1/a/"]
