"""``shipway data VERB``: statistics, schemas, validation and reports of files, outside any pipeline.

It runs in the data family's environment: ``python -m shipway.components.data.command_line VERB``. What a verb needs is
imported when it runs, so that help is there at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import click

from shipway.components.common.artifacts import new_directory, read_json
from shipway.components.common.errors import DataRejected, InputError, Preempted, ShipwayError
from shipway.components.common.progress import progress
from shipway.components.data.listings import check_entries, check_lines, column_lines, finding_lines
from shipway.components.data.local_data import (
    local_dataset,
    local_source,
    output_directory,
    output_page,
    settings_file,
    statistics_of,
)

__all__ = ["cli", "main"]

_PATH = click.Path(path_type=Path)
_PRINTED = "shipway.components.data.validation.gate"  # its lines are the findings, which `validate` prints
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a machine to read.")
_output = click.option("-o", "--output", type=_PATH, required=True, metavar="DIR", help="Where to write.")
_label = click.option("--label", default="", metavar="COLUMN", help="The column to be predicted.")
_processes = click.option("--processes", type=click.IntRange(0), default=0, help="How many; 0 is one for each core.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Looks at data: what is in it, what it must look like, and whether it does.

    A SOURCE is a file or a directory of files (.parquet, .csv, .csv.gz, .tfrecord): a path, or a gs://, s3:// or
    pvc:// URI, or the http(s):// address of a file. Where statistics are asked for, the directory that `shipway data
    stats` wrote will do, and so will a SOURCE.

    \b
    shipway data stats january.csv -o january                    what is in the data
    shipway data schema january -o schema --label y              what data must look like
    shipway data validate february.csv --schema schema -o check  does it?
    shipway data report january -o january.html                  what is in the data, to look at

    Exit codes: 1 fault, 2 wrong input, 3 data rejected, 4 the data changed meanwhile, 6 storage failed,
    75 try again, 143 stopped.
    """  # noqa: D301  click wants the character itself


@cli.command()
@click.argument("source")
@_output
@click.option(
    "--slice-column", "slice_columns", multiple=True, metavar="COLUMN", help="Also describe its values' rows, each."
)
@click.option("--weight-column", default="", metavar="COLUMN", help="Weigh every row by this number.")
@click.option("--sample-fraction", default=1.0, show_default=True, help="Share of the rows to take, above 0 up to 1.")
@click.option("--seed", default=0, show_default=True, help="Another one takes another sample.")
@_processes
@click.option("--beam-option", "beam_options", multiple=True, metavar="OPTION", help="Run on Beam, with this option.")
@_as_json
def stats(source: str, output: Path, as_json: bool, **options: Any) -> None:
    """Describes every column of SOURCE with TFDV.

    DIR gets statistics.pb (TFDV's own format), summary.json and distributions.json. Options with COLUMN or OPTION may
    be repeated, but for the weight.

    \b
    shipway data stats flights.csv.gz -o stats
    shipway data stats flights/ -o stats --slice-column carrier --processes 4
    shipway data stats flights/ -o stats --beam-option=--runner=DirectRunner
    """  # noqa: D301  click wants the character itself
    from shipway.components.data.statistics.generation import generate_statistics

    output_directory(output, "statistics.pb", [source])
    with local_source(source) as path, progress("describing") as tell:
        written = generate_statistics(path, output, progress=tell, **options)
    shown = column_lines(read_json(output / "summary.json"))
    _tell({"output": str(output), **written}, as_json, shown)


@cli.command()
@click.argument("statistics")
@_output
@_label
@click.option("--update", type=_PATH, metavar="SCHEMA", help="Propose what this schema would have to say instead.")
@click.option("--tighten", is_flag=True, help="With --update: also propose what may be stricter.")
@click.option(
    "--max-unseen-fraction", default=0.01, show_default=True, help="Share of a column's values that may be new ones."
)
@click.option(
    "--range-column", "range_columns", multiple=True, metavar="COLUMN", help="Keep its numbers in range; * is any name."
)
@click.option("--range-margin", default=0.5, show_default=True, help="How far beyond, as a share of the range.")
@_as_json
def schema(
    statistics: str, output: Path, label: str, update: Path | None, tighten: bool, as_json: bool, **options: Any
) -> None:
    """Infers from STATISTICS what data must look like, or proposes how a schema would have to change.

    DIR gets schema.pbtxt; edit it as you see fit. With --update, the given schema stays as it is, and DIR gets the
    proposed schema.pbtxt and the changes: changes.md, changes.diff, changes.json.

    \b
    shipway data schema january -o schema --label delayed
    shipway data schema january -o schema --range-column '*_usd' --range-margin 1
    shipway data schema february -o proposal --update schema
    """  # noqa: D301  click wants the character itself
    output_directory(output, "schema.pbtxt", [statistics, update])
    if update and (label or options["range_columns"]):
        raise InputError("--label and --range-column are for a new schema; with --update the given one says both")
    if tighten and not update:
        raise InputError("--tighten is for --update; a new schema is as strict as the data allows")
    with tempfile.TemporaryDirectory() as scratch:
        described = statistics_of(statistics, Path(scratch) / "statistics", "the data")
        if update:
            from shipway.components.data.schema.evolution import propose_schema

            unseen = options["max_unseen_fraction"]
            written = propose_schema(described, update, output, tighten=tighten, max_unseen_fraction=unseen)
            shown = (output / "changes.md").read_text(encoding="utf-8").splitlines()
        else:
            from shipway.components.data.schema.inference import infer_schema

            written, shown = infer_schema(described, output, label=label, **options), []
    _tell({"output": str(output), **written}, as_json, shown)


@cli.command()
@click.argument("source")
@_output
@click.option("--schema", "schema_uri", required=True, metavar="SCHEMA", help="A file, or a directory with one.")
@click.option("--statistics", metavar="DIR", help="Statistics of SOURCE, when they are there already.")
@click.option("--previous", metavar="STATISTICS", help="Of earlier data, to find drift and changes.")
@click.option("--serving", metavar="STATISTICS", help="Of serving data, to find skew.")
@_label
@click.option("--environment", default="", metavar="NAME", help="Of the schema: TRAINING or SERVING.")
@click.option("--key-column", "key_columns", multiple=True, metavar="COLUMN", help="Names a row; repeat for a pair.")
@click.option("--time-column", default="", metavar="COLUMN", help="When each row was.")
@click.option("--checks", type=_PATH, metavar="FILE", help="YAML: checks to their severity or settings.")
@click.option("--rule", "rules", multiple=True, metavar="SQL", help="What must hold in every row; repeatable.")
@click.option("--pandera", "pandera_schema", default="", metavar="FILE", help="A pandera schema for the rows.")
@click.option("--on-anomaly", type=click.Choice(["fail", "warn", "quarantine"]), default="fail", show_default=True)
@click.option(
    "--min-clean-fraction", default=0.9, show_default=True, help="Share of the rows that a quarantine must leave."
)
@_processes
@_as_json
def validate(source: str, output: Path, as_json: bool, **given: Any) -> None:
    """Says whether SOURCE looks as it must, and why not; exit code 3 when it does not.

    DIR gets report.html, anomalies/ (anomalies.json, the quarantined rows), statistics/ and, with --on-anomaly
    quarantine, clean/: the rows that passed. `shipway data checks` lists the checks.

    \b
    shipway data validate february.csv --schema schema -o check
    shipway data validate february.csv --schema schema --previous january --label delayed -o check
    shipway data validate february.csv --schema schema --key-column flight --key-column day \\
        --rule 'dep_time <= arr_time' --checks checks.yaml --on-anomaly quarantine -o check

    checks.yaml, for instance:

    \b
    duplicate_rows: fail
    identical_columns: off
    drift: {severity: fail, features: {distance: {measure: ks, threshold: 0.1}}}
    """  # noqa: D301  click wants the character itself
    reads = ("schema_uri", "statistics", "previous", "serving")
    output_directory(output, "anomalies", [source, *(given[name] for name in reads)])
    with new_directory(output) as aside:
        _validated(source, aside, **given)
    found = read_json(output / "anomalies" / "anomalies.json")
    severities = [finding["severity"] for finding in found["anomalies"]]
    result = {
        "output": str(output),
        "report": str(output / "report.html"),
        "rows": found["rows"],
        "anomalies": severities.count("fail"),
        "warnings": severities.count("warn"),
        "quarantined": (found["quarantine"] or {"rows": 0})["rows"],
        "rejected": found["rejected"],
    }
    _tell(result, as_json, finding_lines(found))
    if found["rejected"]:
        raise DataRejected(f"the data does not look as it must: {found['reason']}; {result['report']} shows why")


def _validated(source: str, aside: Path, **given: Any) -> None:
    from shipway.components.data.schema.inference import infer_schema
    from shipway.components.data.validation.validation import validate_data

    processes = given.pop("processes")
    checks, schema_uri = settings_file(given.pop("checks")), given.pop("schema_uri")
    with tempfile.TemporaryDirectory() as name, local_dataset(source, Path(name) / "rows") as (dataset, known_as):
        scratch = Path(name)
        at_hand = given.pop("statistics") or str(known_as)
        described = statistics_of(at_hand, aside / "statistics", "the data", processes=processes)
        for kind in ("previous", "serving"):
            other = given.pop(kind)
            if other:
                found = statistics_of(other, scratch / kind, f"{kind} data", processes=processes)
                given[f"{kind}_statistics"] = found
        infer_schema(described, scratch / "schema", schema_uri=schema_uri)
        places = (described, scratch / "schema", aside / "anomalies", aside / "report.html")
        clean = aside / "clean" if given["on_anomaly"] == "quarantine" else None
        with contextlib.suppress(DataRejected):
            validate_data(*places, dataset=dataset, clean=clean, checks=checks, **given)


@cli.command()
@click.argument("statistics")
@click.option("-o", "--output", type=_PATH, required=True, metavar="FILE", help="Where to write the page.")
@click.option("--previous", metavar="STATISTICS", help="Of earlier data, to see beside it.")
@click.option("--serving", metavar="STATISTICS", help="Of serving data, to see beside it.")
@click.option("--facets", is_flag=True, help="TFDV's Facets view; opened, it fetches scripts from two outside hosts.")
@_as_json
def report(
    statistics: str, output: Path, previous: str | None, serving: str | None, facets: bool, as_json: bool
) -> None:
    """Draws what is in the data, with no judgement: one HTML file that needs no network.

    \b
    shipway data report january -o january.html
    shipway data report february.csv --previous january -o february.html
    """  # noqa: D301  click wants the character itself
    from shipway.components.data.schema.protos import read_statistics
    from shipway.components.data.validation.report import render

    if facets and serving:
        raise InputError("--facets shows one other set beside the data; leave --serving out")
    given = {"data": statistics, "previous": previous, "serving": serving}
    with output_page(output) as aside, tempfile.TemporaryDirectory() as scratch:
        described = {
            kind: statistics_of(source, Path(scratch) / kind, f"{kind} data" if kind != "data" else "the data")
            for kind, source in given.items()
            if source
        }
        summary = read_json(described["data"] / "summary.json")
        if facets:
            from shipway.components.data.validation.report.facets import facets_html

            page = facets_html(*(read_statistics(directory) for directory in described.values()))
        else:
            shapes = {kind: read_json(directory / "distributions.json") for kind, directory in described.items()}
            unjudged = {"rows": summary["rows"], "rejected": False, "on_anomaly": "", "anomalies": []}
            page = render(unjudged, summary, shapes["data"], shapes.get("previous"), shapes.get("serving"))
        aside.write_text(page, encoding="utf-8")
    _tell({"output": str(output), "rows": summary["rows"], "columns": len(summary["columns"])}, as_json)


@cli.command("checks")
@_as_json
def checks_command(as_json: bool) -> None:
    """Lists the checks of `shipway data validate`: severity, what each needs, and its parameters."""
    from shipway.components.data.validation.catalogue import CATALOGUE

    if as_json:
        click.echo(json.dumps(check_entries(CATALOGUE)))
        return
    for line in check_lines(CATALOGUE):
        click.echo(line)


def _tell(result: Mapping[str, Any], as_json: bool, lines: Iterable[str] = ()) -> None:
    if as_json:
        click.echo(json.dumps(result))
        return
    for line in lines:
        click.echo(line)
    for name, value in result.items():
        click.echo(f"{name:<12} {f'{value:,}' if isinstance(value, int) and not isinstance(value, bool) else value}")


def _stopped(_signal: int, _frame: FrameType | None) -> None:
    raise Preempted("stopped by SIGTERM; nothing was written")


def main() -> None:
    """Runs the command line; an error of the tree becomes one message and its exit code."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.name != _PRINTED)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore", FutureWarning)  # what libraries tell each other
    signal.signal(signal.SIGTERM, _stopped)
    try:
        cli(prog_name="shipway data")
    except ShipwayError as error:
        print(f"shipway: {type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
