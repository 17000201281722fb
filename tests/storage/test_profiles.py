from __future__ import annotations

import dataclasses
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.components.common.errors import InputError
from shipway.components.common.storage.profiles import Profile, profile_for

KEYS = {"AWS_ACCESS_KEY_ID": "the-access-key", "AWS_SECRET_ACCESS_KEY": "the-secret-key"}
FOREIGN = ("AWS_", "S3_", "GOOGLE_", "STORAGE_", "CA_BUNDLE_", "SHIPWAY_STORAGE", "awsAnonymous")

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the file of profiles that SHIPWAY_STORAGE_PROFILES names."""
    path = tmp_path / "profiles.yaml"
    monkeypatch.setenv("SHIPWAY_STORAGE_PROFILES", str(path))

    def written(text: str) -> Path:
        path.write_text(text)
        return path

    return written


@pytest.fixture
def secret(tmp_path: Path) -> Callable[..., Path]:
    """Mounts a Secret as kubelet does: behind links to a directory that is replaced as a whole."""

    def mounted(**keys: str) -> Path:
        directory = tmp_path / "secret"
        data = directory / "..2026_01_01"
        data.mkdir(parents=True)
        (directory / "..data").symlink_to(data.name)
        for name, text in keys.items():
            (data / name).write_text(text)
            (directory / name).symlink_to(f"..data/{name}")
        return directory

    return mounted


def refused(uri: str, *secrets: str) -> str:
    """Returns the message; nothing secret is in it, nor in what a log would show of the error."""
    with pytest.raises(InputError) as caught:
        profile_for(uri)
    shown = "".join(traceback.format_exception(caught.value))
    for text in (*KEYS.values(), *secrets):
        assert text not in shown
    return str(caught.value)


def test_without_any_source_everything_is_left_to_the_client_library() -> None:
    for uri in ("s3://bucket/key", "gs://bucket/key", "https://host/key", "pvc://claim/key", "file:///a/b", "a/b"):
        assert profile_for(uri) == Profile()


def test_the_file_of_profiles_is_found_where_it_is_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for base, variable, value in (("x", "XDG_CONFIG_HOME", "x"), ("home/.config", "HOME", "home")):
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.setenv(variable, str(tmp_path / value))
        path = tmp_path / base / "shipway" / "storage.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"s3://: {{region: {variable}}}")
        assert profile_for("s3://bucket").region == variable


def test_the_longest_prefix_wins_by_whole_segments(write: Write) -> None:
    write(
        "s3://: {region: any}\n"
        "s3://models: {region: models}\n"
        "S3://models/live/: {region: live}\n"
        "https://host/a: {stall_seconds: 5}\n"
        "https://HOST:8443/: {stall_seconds: 6}\n"
        "pvc://claim: {stall_seconds: 7}\n"
    )
    found = {
        "s3://models": "models",
        "s3://models/": "models",
        "s3://models/x": "models",
        "s3://models/live": "live",
        "s3://models/live/v1/": "live",
        "s3://models/lively": "models",
        "s3://models-old/live": "any",
    }
    assert {uri: profile_for(uri).region for uri in found} == found
    seconds = {"https://host/a/b?c=d": 5, "https://host/a?x": 5, "https://host/ab": 30, "https://host:8443/z": 6}
    seconds |= {"http://host/a": 30, "pvc://claim/a": 7, "pvc://claim-2/a": 30, "gs://models/live": 30}
    assert {uri: profile_for(uri).stall_seconds for uri in seconds} == seconds


@given(st.lists(st.sampled_from(["m", "m1", "m-1", "v"]), max_size=4), st.integers(0, 4))
def test_a_prefix_matches_itself_and_what_is_below_and_nothing_beside(parts: list[str], length: int) -> None:
    from shipway.components.common.storage.profiles import _entry, _parts
    from shipway.components.common.storage.uris import parse_uri

    prefix = _entry(Path("x"), "/".join(["s3://bucket", *parts[:length]]), {}).prefix
    below = _parts(parse_uri("/".join(["s3://bucket", *parts])))
    beside = _parts(parse_uri("/".join(["s3://bucket", *parts[:length]]) + "-x"))
    assert below[: len(prefix)] == prefix
    assert beside[: len(prefix)] != prefix


def test_every_setting_reaches_the_profile(write: Write, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "key.json").touch()
    write(
        "s3://bucket: {endpoint_url: 'https://minio.example:9000/', region: eu-west-1, addressing_style: path,"
        " anonymous: true, ca_bundle: ca.pem, proxy: 'http://proxy:3128', kms_key: k, unconditional_publish: true,"
        " stall_seconds: 5}\n"
        "gs://bucket: {credentials_file: ./key.json, project: p, verify_tls: false}\n"
    )
    assert profile_for("s3://bucket/x") == Profile(
        endpoint_url="https://minio.example:9000",
        region="eu-west-1",
        addressing_style="path",
        anonymous=True,
        ca_bundle=str(tmp_path / "ca.pem"),
        proxy="http://proxy:3128",
        kms_key="k",
        unconditional_publish=True,
        stall_seconds=5,
    )
    assert profile_for("gs://bucket/x") == Profile(
        credentials_file=str(tmp_path / "key.json"), project="p", verify_tls=False
    )


def test_an_entry_is_asked_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    for name, text in KEYS.items():
        monkeypatch.setenv(name, text)
    write("s3://: {region: a}\ns3://models: {endpoint_url: 'http://ceph'}")
    assert profile_for("s3://models/x") == Profile(endpoint_url="http://ceph")
    assert "AWS_ENDPOINT_URL set requests would go elsewhere" in refused("s3://other/x")


def test_the_file_is_read_again_when_it_changed(write: Write) -> None:
    write("s3://: {region: a}")
    assert profile_for("s3://bucket").region == "a"
    write("s3://: {region: b}")
    assert profile_for("s3://bucket").region == "b"
    write("")
    assert profile_for("s3://bucket") == Profile()


def test_keys_come_from_a_mounted_secret_and_are_read_again(write: Write, secret: Callable[..., Path]) -> None:
    directory = secret(**{name: f"{text}\n" for name, text in KEYS.items()}, AWS_SESSION_TOKEN="the-token")
    write("s3://models: {endpoint_url: 'http://minio:9000', credentials: ./secret}")
    profile = profile_for("s3://models/x")
    assert profile == Profile(
        endpoint_url="http://minio:9000",
        access_key="the-access-key",
        secret_key="the-secret-key",
        session_token="the-token",
        credentials=str(directory),
    )
    assert not any(text in repr(profile) for text in (*KEYS.values(), "the-token"))
    (directory / "..data" / "AWS_SECRET_ACCESS_KEY").write_text("rotated")
    assert profile_for("s3://models/x").secret_key == "rotated"


def test_a_secret_of_kserve_or_of_pipelines_is_enough(write: Write, secret: Callable[..., Path]) -> None:
    secret(accesskey="a", secretkey="b", S3_ENDPOINT="minio:9000", S3_USE_HTTPS="0", AWS_CA_BUNDLE="/not/here")
    write("s3://: {credentials: ./secret, stall_seconds: 5}")
    profile = profile_for("s3://models/x")
    assert (profile.access_key, profile.secret_key) == ("a", "b")
    assert (profile.endpoint_url, profile.stall_seconds, profile.ca_bundle) == ("http://minio:9000", 5, "")


def test_credentials_come_from_variables_of_a_prefix(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("s3://aaa: {credentials: 'env:A_'}\ns3://bbb: {credentials: 'env:B_'}\nhttps://h: {credentials: 'env:H_'}")
    for name, text in KEYS.items():
        monkeypatch.setenv(f"A_{name}", f"{text}-of-a")
        monkeypatch.setenv(f"B_{name}", f"{text}-of-b")
    monkeypatch.setenv("B_awsAnonymousCredential", "true")
    monkeypatch.setenv("H_TOKEN", "the-token")
    assert profile_for("s3://aaa/x").secret_key == "the-secret-key-of-a"
    assert profile_for("s3://bbb/x") == Profile(anonymous=True, credentials="env:B_")
    assert profile_for("https://h/x").bearer_token == "the-token"


def test_credentials_of_gs_and_of_the_web(write: Write, secret: Callable[..., Path]) -> None:
    directory = secret(**{"gcloud-application-credentials.json": "{}", "token": "the-token\n"})
    write(
        "gs://aaa: {credentials: ./secret}\n"
        "gs://bbb: {credentials: ./secret/gcloud-application-credentials.json}\n"
        "https://aaa: {credentials: ./secret}\n"
        "https://bbb: {credentials: ./secret/token}\n"
    )
    for name in ("aaa", "bbb"):
        assert profile_for(f"gs://{name}/x").credentials_file == str(directory / "gcloud-application-credentials.json")
        assert profile_for(f"https://{name}/x").bearer_token == "the-token"
    (directory / "token").unlink()
    (directory / "headers").write_text('{\n  "Authorization": "Bearer the-other"\n}\n')
    assert profile_for("https://aaa/x").bearer_token == "the-other"


def test_a_proxy_with_a_password_comes_from_a_variable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("s3://: {proxy: 'env:MY_PROXY'}")
    assert "MY_PROXY" in refused("s3://bucket")
    monkeypatch.setenv("MY_PROXY", "http://me:pass-word@proxy:3128")
    profile = profile_for("s3://bucket")
    assert profile.proxy == "http://me:pass-word@proxy:3128"
    assert "pass-word" not in repr(profile)
    write("s3://: {proxy: 'http://me:pass-word@proxy:3128'}")
    assert "env:" in refused("s3://bucket", "pass-word")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("secret_key: the-secret-key", "secret_key must not stand in this file"),
        ("aws_secret_access_key: the-secret-key", "credentials: /mnt/secrets/minio"),
        ("bearer_token: the-secret-key", "credentials: env:MINIO_"),
        ("passwd: the-secret-key", "must not stand"),
        ("endpoint: 'https://me:the-secret-key@host'", "did you mean endpoint_url?"),
        ("endpoint_url: 'https://me:the-secret-key@host'", "user or a password"),
        ("endpoint_url: minio:9000", "https://host"),
        ("endpoint_url: 'https://host:port'", "https://host"),
        ("endpoint_url: 'https://host?the-secret-key'", "https://host"),
        ("endpoint_url: 9000", "in quotes"),
        ("region: no", "in quotes"),
        ("region:", "in quotes"),
        ("addressing_style: paths", "auto, path, virtual"),
        ("anonymous: 'true'", "without quotes"),
        ("verify_tls: 1", "without quotes"),
        ("stall_seconds: -1", "above 0"),
        ("stall_seconds: 0", "above 0"),
        ("stall_seconds: .nan", "above 0"),
        (f"stall_seconds: 1{400 * '0'}", "up to 86,400"),
        ("stall_seconds: true", "above 0"),
        ("stall_seconds: soon", "above 0"),
        ("proxy: proxy:3128", "http://host:9000"),
        ("ca_bundle: missing.pem", "missing.pem, which is no file"),
        ("credentials_file: missing.json", "missing.json, which is no file"),
        ("credentials: the-secret-key", "keys themselves must not stand there"),
        ("credentials: 'env:the-secret-key'", "keys themselves must not stand there"),
        ("credentials: /not/there", "there is no directory /not/there"),
        ("credentials: './profiles.yaml'", "there is no directory"),
        ("credentials: 'env:NONE_'", "env:NONE_ has no AWS_ACCESS_KEY_ID"),
        ("{credentials: /a, anonymous: true}", "credentials and anonymous"),
        ("{ca_bundle: /a, verify_tls: false}", "nobody looks at ca_bundle"),
        ("text", "must have settings below it"),
    ],
)
def test_a_wrong_setting_is_told_with_file_and_name(write: Write, text: str, expected: str) -> None:
    path = write(f"s3://models:\n  {text}\n")
    message = refused("s3://models/x")
    assert message.startswith(f"{path}, s3://models")
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://models:\n  secret_key: 'the-secret-key\n", "line 3: this is no YAML"),
        ("a: b: the-secret-key", "line 1: this is no YAML"),
        ("s3://a: \x00the-secret-key", "cannot be read (ReaderError)"),
        ("[the-secret-key]", "must map prefixes"),
        ("models: {region: a}", "prefix of a URI"),
        ("1: {region: a}", "prefix of a URI"),
        ("minio://models: {region: a}", "write s3://"),
        ("s3://UPPER_$: {region: a}", "cannot name a bucket"),
        ("https://me:the-secret-key@host: {region: a}", "take user and password out"),
        ("s3://m/../x: {region: a}", "profiles.yaml"),
        ("{'s3://abc': {region: a}, 's3://abc/': {region: b}}", "s3://abc stands there twice"),
        ("file://: {credentials: /a}", "credentials has no use"),
    ],
)
def test_a_file_that_is_wrong_is_told(write: Write, text: str, expected: str) -> None:
    path = write(text)
    message = refused("gs://any")
    assert str(path) in message
    assert expected in message


def test_a_file_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIPWAY_STORAGE_PROFILES", str(tmp_path / "none.yaml"))
    assert "none.yaml" in refused("s3://bucket")
    monkeypatch.setenv("SHIPWAY_STORAGE_PROFILES", "")
    assert profile_for("s3://bucket") == Profile()


def test_what_a_secret_lacks_is_told(write: Write, secret: Callable[..., Path]) -> None:
    directory = secret(AWS_ACCESS_KEY_ID="the-access-key")
    write("s3://: {credentials: ./secret}\ngs://: {credentials: ./secret}\nhttps://h: {credentials: ./secret}")
    assert "no AWS_SECRET_ACCESS_KEY" in refused("s3://bucket")
    assert "has no gcloud-application-credentials.json" in refused("gs://bucket")
    assert "has no token" in refused("https://h/x")
    (directory / "AWS_SECRET_ACCESS_KEY").write_bytes(b"the-secret-key\nx")
    assert "AWS_SECRET_ACCESS_KEY must hold one line" in refused("s3://bucket")
    (directory / "AWS_SECRET_ACCESS_KEY").write_bytes(b"the-secret-key\xff")
    assert "not text in UTF-8" in refused("s3://bucket")
    (directory / "AWS_SECRET_ACCESS_KEY").write_bytes(b" \n")
    assert "nothing is in it" in refused("s3://bucket")
    for text in ('{"X-Key": "the-secret-key"}', '{"Authorization": "Basic the-secret-key"}', "the-secret-key"):
        (directory / "headers").write_text(text)
        assert "headers" in refused("https://h/x")


def test_the_environment_of_kserves_initializer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = tmp_path / "cabundle.crt"
    certificates.touch()
    for name, text in {
        **KEYS,
        "AWS_ENDPOINT_URL": "https://minio.example:9000",
        "S3_ENDPOINT": "other:9000",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "us-west-2",
        "S3_USER_VIRTUAL_BUCKET": "true",
        "S3_VERIFY_SSL": "1",
        "CA_BUNDLE_CONFIGMAP_NAME": "certificates",
        "CA_BUNDLE_VOLUME_MOUNT_POINT": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, text)
    expected = Profile(
        endpoint_url="https://minio.example:9000",
        region="eu-west-1",
        addressing_style="virtual",
        access_key="the-access-key",
        secret_key="the-secret-key",
        credentials="env:",
        ca_bundle=str(certificates),
    )
    assert profile_for("s3://models/x") == expected
    assert profile_for("gs://models/x") == Profile()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "own.crt"))
    assert "AWS_CA_BUNDLE" in refused("s3://models/x")
    monkeypatch.setenv("S3_VERIFY_SSL", "0")
    assert profile_for("s3://models/x") == dataclasses.replace(expected, ca_bundle="", verify_tls=False)
    monkeypatch.setenv("awsAnonymousCredential", "True")
    assert profile_for("s3://models/x").anonymous
    assert not profile_for("s3://models/x").secret_key


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"S3_ENDPOINT": "minio:9000"}, "https://minio:9000"),
        ({"S3_ENDPOINT": "minio:9000", "S3_USE_HTTPS": "1"}, "https://minio:9000"),
        ({"S3_ENDPOINT": "minio:9000", "S3_USE_HTTPS": "0"}, "http://minio:9000"),
        ({"S3_ENDPOINT": "http://minio:9000/", "S3_USE_HTTPS": "1"}, "http://minio:9000"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, "http://b"),
        ({"AWS_ENDPOINT_URL": ""}, ""),
    ],
)
def test_an_endpoint_has_several_names(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert profile_for("s3://bucket/x") == Profile(endpoint_url=expected)


def test_kserves_storage_config_goes_before_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://other:9000")
    monkeypatch.setenv(
        "STORAGE_CONFIG",
        '{"type": "s3", "access_key_id": "the-access-key", "secret_access_key": "the-secret-key", "bucket": "models",'
        ' "endpoint_url": "http://minio:9000", "region": "us-south", "verify_ssl": "false", "cabundle_configmap": "x"}',
    )
    monkeypatch.setenv("STORAGE_OVERRIDE_CONFIG", '{"region": "eu-west-1"}')
    assert profile_for("s3://models/x") == Profile(
        endpoint_url="http://minio:9000",
        region="eu-west-1",
        access_key="the-access-key",
        secret_key="the-secret-key",
        credentials="env:",
        verify_tls=False,
    )
    monkeypatch.setenv("secretkey", "another's")
    monkeypatch.setenv("STORAGE_OVERRIDE_CONFIG", '{"type": "webhdfs"}')
    assert profile_for("s3://models/x") == Profile(endpoint_url="http://other:9000")
    monkeypatch.setenv("STORAGE_CONFIG", '{"secret_access_key": "the-secret-key"')
    assert "STORAGE_CONFIG is no JSON object" in refused("s3://models/x")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_ACCESS_KEY_ID": "the-access-key"}, "no AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "the-secret-key"}, "no AWS_ACCESS_KEY_ID"),
        ({"S3_VERIFY_SSL": "perhaps"}, "S3_VERIFY_SSL is neither true nor false"),
        ({"AWS_ENDPOINT_URL": "https://me:the-secret-key@minio"}, "AWS_ENDPOINT_URL has a user"),
        ({"S3_ENDPOINT": "minio:port"}, "S3_ENDPOINT is no usable address"),
        ({"CA_BUNDLE_CONFIGMAP_NAME": "x"}, "/etc/ssl/custom-certs/cabundle.crt, which is no file"),
    ],
)
def test_a_wrong_variable_is_told(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    message = refused("s3://bucket/x")
    assert message.startswith("the environment")
    assert expected in message


def test_googles_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gcloud-application-credentials.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    assert "GOOGLE_APPLICATION_CREDENTIALS names" in refused("gs://bucket/x")
    path.touch()
    assert profile_for("gs://bucket/x") == Profile(credentials_file=str(path), credentials="env:")
    assert profile_for("s3://bucket/x") == Profile()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:9023")
    assert profile_for("gs://bucket/x") == Profile(endpoint_url="http://localhost:9023", anonymous=True)


def test_kserves_headers_for_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("hub.example-headers", '{"Authorization": "Bearer the-token"}')
    monkeypatch.setenv("TOKEN", "not this one")
    assert profile_for("https://hub.example:8443/x").bearer_token == "the-token"
    assert profile_for("https://other.example/x") == Profile()


def test_the_page_shows_what_works(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "storage-profiles.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 2
    for name, text in KEYS.items():
        monkeypatch.setenv(f"MINIO_{name}", text)
    monkeypatch.setenv("SITE_PROXY", "http://me:pass-word@proxy:3128")
    for block in blocks:
        write(re.sub(r"(credentials|ca_bundle): [/~]\S+/(\S+)", r"\1: ./\2", block))
        for name in re.findall(r"(?:credentials|ca_bundle): [/~]\S+/(\S+)", block):
            _make(tmp_path / name)
        for prefix in re.findall(r"^(\w+://\S*):$", block, re.MULTILINE):
            assert profile_for(prefix if prefix.partition("://")[2] else f"{prefix}bucket") != Profile()


def _make(path: Path) -> None:
    if path.suffix:
        path.touch()
        return
    path.mkdir(exist_ok=True)
    for name, text in {**KEYS, "token": "the-token", "gcloud-application-credentials.json": "{}"}.items():
        (path / name).write_text(text)
