"""``shipway storage VERB``: looks into stores, copies between them, publishes and verifies.

It runs in the lifecycle family's environment: ``python -m shipway.components.common.storage.command_line VERB``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any
from urllib.parse import unquote

import click

from shipway.components.common import storage
from shipway.components.common.errors import InputError, IntegrityError, Preempted, ShipwayError
from shipway.components.common.progress import bytes_progress
from shipway.components.common.storage import Options, Transfer
from shipway.components.common.storage.listings import entries, long_line, short_line
from shipway.components.common.storage.profiles import Profile, profile_for
from shipway.components.common.storage.uris import parse_uri, shown

__all__ = ["cli", "main"]

_MIB = 1 << 20
_LISTING_WORKERS = 32
_LISTING_SECONDS = 20.0  # somebody waits for the answer
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a machine to read.")


def _number(name: str, kind: click.ParamType[Any], default: float, text: str) -> Callable[..., Any]:
    return click.option(name, type=kind, default=default, show_default=True, help=text)


_EFFORT = (
    _number("--workers", click.IntRange(1, 256), 8, "Requests at a time."),
    _number("--part-mib", click.IntRange(5, 1024), 16, "Size of large objects' parts; a worker holds one in memory."),
    _number("--limit-mib-per-second", click.FloatRange(0), 0.0, "Bandwidth in all; 0 is all there is."),
    _number("--deadline-seconds", click.FloatRange(0), 0.0, "How long it may take; 0 is for ever."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but what goes wrong."),
    _as_json,
)


def _effort(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_EFFORT):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Looks into stores, copies between them, publishes and verifies.

    A URI is a path, or starts with gs://, s3://, pvc://CLAIM/, file:// or, to read one file, http(s)://. Every byte is
    checked on its way. What was stopped goes on where it was when it is run again.

    \b
    shipway storage ls s3://raw/flights/                          what is there
    shipway storage cp s3://raw/flights/ data                     a directory to this machine
    shipway storage publish model s3://models/flights/v7          a version that never changes
    shipway storage verify s3://models/flights/v7                 is it what was published?
    shipway storage replicate s3://models/flights/v7 gs://cloud-models/flights/v7
    shipway storage profile s3://models                           which endpoint and credentials?

    Exit codes: 1 fault, 2 wrong input, 4 something else is there, 6 storage failed, 75 try again, 143 stopped.
    """  # noqa: D301  click wants the character itself


@cli.command("ls")
@click.argument("uri")
@click.option("-r", "--recursive", is_flag=True, help="Go into directories.")
@click.option("-l", "--long", "details", is_flag=True, help="Also tell sizes, dates (UTC) and checksums.")
@_as_json
def list_command(uri: str, recursive: bool, details: bool, as_json: bool) -> None:
    """Lists the directory URI, or the one object that it names.

    A directory ends with a slash; one that is a published version says so. With a slash at its end URI is a directory,
    even where an object has its name.

    \b
    shipway storage ls s3://models
    shipway storage ls -l s3://models/flights/v7
    shipway storage ls -r --json gs://raw/2013 | jq 'map(.size) | add'
    """  # noqa: D301
    store, key = storage.open_store(uri, Options(workers=_LISTING_WORKERS, retry_seconds=_LISTING_SECONDS))
    found: list[dict[str, Any]] = []
    count = size = 0
    for entry in entries(store, key, uri.endswith("/"), recursive, details):
        count, size = count + 1, size + entry.get("size", 0)
        if as_json:
            found.append(entry)
        else:
            click.echo(long_line(entry) if details else short_line(entry))
    if as_json:
        click.echo(json.dumps(found))
    elif details:
        click.echo(f"{count:,} entries, {size / _MIB:,.1f} MiB")


@cli.command("cp")
@click.argument("source")
@click.argument("target")
@_effort
def copy_command(source: str, target: str, **effort: Any) -> None:
    """Copies SOURCE, a file or a directory, to TARGET.

    TARGET becomes what SOURCE is; with a slash at its end, SOURCE is put into it under its own name. What is there
    already is not sent again, and what else is there stays. A new local file or directory appears when it is complete.

    \b
    shipway storage cp s3://raw/flights.csv ./           writes flights.csv
    shipway storage cp data s3://raw/2013                data/a.csv becomes s3://raw/2013/a.csv
    shipway storage cp data s3://raw/                    data/a.csv becomes s3://raw/data/a.csv
    shipway storage cp s3://raw/2013/ gs://raw/2013 --workers 32 --limit-mib-per-second 50
    """  # noqa: D301
    target = f"{target}{_last_part(source)}" if target.endswith("/") else target
    with _operation("copying", **effort) as operation:
        done = _copied(source, target, operation.options)
    operation.tell({"source": shown(source), "target": shown(target)}, done, f"copied to {target}")


def _is_object(source: str) -> bool:
    store, key = storage.open_store(source)
    return bool(key) and not source.endswith("/") and store.exists(key)


def _copied(source: str, target: str, options: Options) -> Transfer:
    origin, destination = _path(source), _path(target)
    if origin:
        if origin.is_file() and not parse_uri(target).key:
            raise InputError(f"{target} is a whole store and {source} a file; write {target}/ to copy into it")
        return storage.upload(origin, target, options)
    if destination and destination.is_dir() and _is_object(source):
        raise InputError(f"{target} is a directory and {shown(source)} a file; write {target}/ to copy into it")
    if destination and not destination.exists():
        return storage.download(source, destination, options)
    return storage.copy(source, target, options)


def _path(uri: str) -> Path | None:
    parsed = parse_uri(uri)
    return parsed.directory / parsed.key if parsed.scheme in ("file", "pvc") else None


def _last_part(uri: str) -> str:
    parsed = parse_uri(uri)
    web = parsed.scheme in ("http", "https")
    return PurePosixPath(unquote(parsed.key.partition("?")[0]) if web else parsed.key).name


@cli.command()
@click.argument("source")
@click.argument("target")
@_effort
def replicate(source: str, target: str, **effort: Any) -> None:
    """Copies the version SOURCE to TARGET.

    The manifest comes last. Nothing touches the disk. What is there already is not sent again; where something else is
    published, exit code 4.

    \b
    shipway storage replicate s3://models/flights/v7 gs://cloud-models/flights/v7
    """  # noqa: D301
    with _operation("replicating", **effort) as operation:
        done = storage.replicate(source, target, operation.options)
    operation.tell_published(done)


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("uri")
@_effort
def publish(directory: Path, uri: str, **effort: Any) -> None:
    """Publishes DIRECTORY as the version URI, for good.

    Its MANIFEST.json, with every file's size, CRC32C and SHA-256, is written last: who finds one finds all of the
    files. The same published again sends nothing; where something else is published, exit code 4.

    \b
    shipway storage publish model s3://models/flights/v7
    """  # noqa: D301
    with _operation("publishing", **effort) as operation:
        done = storage.publish_version(directory, uri, options=operation.options)
    operation.tell_published(done)


@cli.command()
@click.argument("uri")
@click.option("--deep", is_flag=True, help="Read every byte; else sizes and the stores' own checksums are compared.")
@_effort
def verify(uri: str, deep: bool, **effort: Any) -> None:
    """Tells whether a version is what was published.

    Exit code 6 where it is not, and what differs.

    \b
    shipway storage verify s3://models/flights/v7
    shipway storage verify gs://cloud-models/flights/v7 --deep
    """  # noqa: D301
    found = {"uri": shown(uri), "deep": deep}
    with _operation("verifying", **effort) as operation:
        try:
            manifest = storage.verify(uri, deep, operation.options)
        except IntegrityError as error:
            if operation.as_json:
                click.echo(json.dumps({**found, "intact": False, "reason": str(error)}))
            raise
    files, size = len(manifest["files"]), sum(file["size"] for file in manifest["files"])
    if operation.as_json:
        digest = manifest["digest"]
        click.echo(json.dumps({**found, "intact": True, "digest": digest, "files": files, "bytes": size}))
    elif not operation.quiet:
        how = "every byte was read" if deep else "sizes and the store's checksums are right"
        click.echo(f"{uri} is what was published: {_amount(files, size)}, {how}")


@cli.command()
@click.argument("uri")
@click.option("--probe", is_flag=True, help="Write and delete a small object below URI to see what the store can do.")
@_as_json
def profile(uri: str, probe: bool, as_json: bool) -> None:
    """Shows how the store of URI is reached.

    That is endpoint, credentials (not their values), certificates and proxy, as far as they are set.

    \b
    shipway storage profile s3://models
    shipway storage profile s3://models/scratch --probe
    """  # noqa: D301
    settings = _settings(profile_for(uri))
    can = dataclasses.asdict(storage.capabilities(uri)) if probe else None
    if as_json:
        click.echo(json.dumps({"uri": shown(uri), "profile": settings, "capabilities": can}))
        return
    for name, value in {**settings, **(can or {})}.items():
        click.echo(f"{name:<22} {value}")
    if not settings:
        click.echo("no profile; the client library looks for endpoint and credentials where it always does")


def _settings(found: Profile) -> dict[str, Any]:
    """Returns the settings that are not the defaults; of what is secret only that it is set."""
    fields = dataclasses.fields(found)
    values = {field.name: getattr(found, field.name) if field.repr else "(set)" for field in fields}
    return {field.name: values[field.name] for field in fields if getattr(found, field.name) != field.default}


@dataclasses.dataclass(frozen=True)
class _Operation:
    """A transfer that the command line has begun."""

    options: Options
    quiet: bool
    as_json: bool
    started: float = dataclasses.field(default_factory=time.monotonic)

    def tell_published(self, done: storage.Published) -> None:
        result = {"uri": done.uri, "digest": done.digest, "created": done.created}
        what = "is published now" if done.created else "was published already"
        self.tell(result, done.transfer, f"{done.uri} {what}: {done.digest}")

    def tell(self, result: Mapping[str, Any], transfer: Transfer, what: str) -> None:
        seconds = time.monotonic() - self.started
        if self.as_json:
            click.echo(json.dumps({**result, **dataclasses.asdict(transfer), "seconds": round(seconds, 3)}))
        elif not self.quiet:
            moved = transfer.moved_bytes / _MIB
            click.echo(what)
            click.echo(
                f"{_amount(transfer.files, transfer.bytes)}, {transfer.unchanged:,} unchanged; {moved:,.1f} MiB moved"
                f" in {seconds:.1f} s ({moved / seconds:,.1f} MiB/s)"
            )


@contextlib.contextmanager
def _operation(what: str, quiet: bool, as_json: bool, **options: Any) -> Iterator[_Operation]:
    if quiet:
        yield _Operation(Options(**options), quiet, as_json)
        return
    with bytes_progress(what) as tell:
        yield _Operation(Options(**options, progress=tell), quiet, as_json)


def _amount(files: int, size: int) -> str:
    return f"{files:,} {'file' if files == 1 else 'files'}, {size / _MIB:,.1f} MiB"


def _stopped(number: int, _frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)  # a second one does not wait
    raise Preempted(f"stopped by {signal.Signals(number).name}; run the same command again to go on where it was")


def main() -> None:
    """Runs the command line; an error of the tree becomes one message and its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore", FutureWarning)  # what libraries tell each other
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _stopped)
    try:
        cli(prog_name="shipway storage")
    except ShipwayError as error:
        print(f"shipway: {type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
