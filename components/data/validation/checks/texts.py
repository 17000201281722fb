"""Texts that stand for nothing, are damaged, or name one thing in several ways."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from shipway.components.data.database import literal
from shipway.components.data.validation.checks.check import Check, View, check
from shipway.components.data.validation.checks.data import Aggregate
from shipway.components.data.validation.findings import Finding
from shipway.components.data.validation.settings import Parameter

__all__ = [
    "category_variants",
    "damaged_text",
    "empty_strings",
    "numbers_as_text",
    "placeholders",
    "truncated_text",
    "untrimmed_text",
]

_BLANKS = literal(" \t\r\n\u00a0\u3000")
_TRIMMED = f"trim({{c}}, {_BLANKS})"
_PLACEHOLDERS = (
    "na", "n/a", "#n/a", "n.a.", "nan", "null", "<null>", "(null)", "none", "nil", "-", "--", "?", "??", ".",
    "missing", "undefined", "tbd", "#value!", "#ref!", "#div/0!", "<na>", "\\n",
)  # fmt: skip
# Control characters; the replacement character; UTF-8 read as Latin-1 or Windows-1252. Quotes, dashes and dots after a
# capital are left out: Portuguese words end in it.
_DAMAGED = (
    r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F\x{80}-\x{9F}\x{FFFD}\x{FEFF}]"
    r"|[\x{C2}\x{C3}][\x{A0}-\x{BF}\x{20AC}\x{201A}\x{192}\x{201E}\x{2020}\x{2021}\x{2C6}\x{2030}\x{160}"
    r"\x{2039}\x{152}\x{2DC}\x{2122}\x{161}\x{203A}\x{153}]|\x{E2}\x{20AC}"
)


def _about_texts(name: str, severity: str, description: str, condition: str, short: str, words: str) -> Check:
    """Makes a check of a condition on single texts; it is silent where the previous data had as many."""
    aggregate = Aggregate(("text",), f"count(*) FILTER ({condition})")

    def find(view: View) -> Iterator[Finding]:
        counts = view.data.of(aggregate)
        for column in view.columns("text"):
            share = counts[column.name] / max(1, view.data.rows)
            if counts[column.name] and _share_before(view, column.name, condition) < share / 2:
                rows = view.data.row_numbers(condition.replace("{c}", column.sql))
                yield from view.rows_caught(column.name, short, f"{words}.", rows)

    find.__doc__ = description
    return check(name, severity, needs=["dataset"], aggregates=[aggregate])(find)


def _share_before(view: View, name: str, condition: str) -> float:
    """Returns the share of the previous rows whose listed texts meet the condition."""
    before = view.before.get(name, {}).get("values") or {}
    rows = (view.context.previous_distributions or {}).get("rows")
    if not before or not rows:
        return 0.0
    query = f"SELECT sum(n) FILTER ({condition.replace('{c}', 'v')}) FROM (SELECT unnest(?) AS v, unnest(?) AS n)"  # noqa: S608
    ((count,),) = view.data.database.execute(query, [list(before), list(before.values())]).fetchall()
    return float(count or 0) / float(rows)


empty_strings = _about_texts(
    "empty_strings",
    "warn",
    "Texts that are empty or only blanks, where a missing value may be meant",
    f"{_TRIMMED} = ''",
    "Empty strings",
    "are empty or only blanks; a missing value may be meant",
)
placeholders = _about_texts(
    "placeholders",
    "warn",
    "Texts such as NA, null, - or ?, where a missing value may be meant",
    f"lower({_TRIMMED}) IN ({', '.join(map(literal, _PLACEHOLDERS))})",
    "Placeholders for missing values",
    "hold a text such as NA, null, - or ?; a missing value may be meant",
)
untrimmed_text = _about_texts(
    "untrimmed_text",
    "warn",
    "Texts with blanks before or after",
    f"{{c}} <> {_TRIMMED} AND {_TRIMMED} <> ''",
    "Blanks around texts",
    "begin or end with a blank",
)
damaged_text = _about_texts(
    "damaged_text",
    "fail",
    "Texts read in the wrong encoding, replacement characters, control characters",
    f"regexp_matches({{c}}, {literal(_DAMAGED)})",
    "Damaged texts",
    "hold control or replacement characters, or UTF-8 that was read as another encoding (Ã© for é)",
)

_FILLED = Aggregate(("text",), f"count(*) FILTER ({_TRIMMED} <> '')")
_NUMERIC = Aggregate(("text",), "count(TRY_CAST({c} AS DOUBLE))")
_CODES = Aggregate(("text",), "count(*) FILTER ({c} >= '00' AND {c} < '0:')")


@check(
    "numbers_as_text",
    "warn",
    needs=["dataset"],
    parameters={"min_share": Parameter(0.9, "share of the texts that are numbers, from which it is odd", 0.5, 1)},
    aggregates=[_FILLED, _NUMERIC, _CODES],
)
def numbers_as_text(view: View) -> Iterator[Finding]:
    """Columns of text that hold numbers, or numbers with a few words between them."""
    filled, numeric, codes = (view.data.of(each) for each in (_FILLED, _NUMERIC, _CODES))
    for column in view.columns("text"):
        name = column.name
        least = view.settings.of(name)["min_share"]
        if not numeric[name] or codes[name] or numeric[name] < least * filled[name]:
            continue
        if _share_before(view, name, "TRY_CAST({c} AS DOUBLE) IS NOT NULL") >= 0.5:
            continue
        share = numeric[name] / filled[name]
        words = view.data.row_numbers(
            f"TRY_CAST({column.sql} AS DOUBLE) IS NULL AND {_TRIMMED.replace('{c}', column.sql)} <> ''"
        )
        if len(words):
            yield from view.rows_caught(name, "Words among numbers", "hold words in a column of numbers.", words)
        else:
            description = f"{share:.2%} of the texts are numbers; cast the column."
            yield view.finding(name, "Numbers as text", description, value=share, threshold=least, measure="share")


@check("category_variants", "warn")
def category_variants(view: View) -> Iterator[Finding]:
    """One category written in several ways: JFK and jfk."""
    for name, column in view.now.items():
        if column["kind"] != "string" or column.get("other") or view.settings.of(name).severity == "off":
            continue
        known = view.before.get(name, {}).get("values") or {}
        variants = {
            variant: usual
            for usual, others in _variants(column.get("values") or {}).items()
            for variant in others
            if variant not in known
        }
        if variants:
            yield _variants_finding(view, name, variants)


def _variants(values: Mapping[str, int]) -> dict[str, list[str]]:
    """Returns, for each category written in several ways, the most frequent way with the others."""
    ways: dict[str, list[str]] = defaultdict(list)
    for value in sorted(values, key=lambda value: (-values[value], value)):
        ways[" ".join(unicodedata.normalize("NFKC", value).casefold().split())].append(value)
    groups = {texts[0]: [t for t in texts[1:] if t.strip() != texts[0].strip()] for texts in ways.values()}
    return {usual: others for usual, others in groups.items() if others}


def _variants_finding(view: View, name: str, variants: Mapping[str, str]) -> Finding:
    shown = ", ".join(f"{variant!r} for {usual!r}" for variant, usual in list(variants.items())[:5])
    rows = np.empty(0, np.int64)
    column = view.source.column(name) if view.source else None
    if column and column.kind == "text":
        rows = view.data.row_numbers(f"{column.sql} IN ({', '.join(map(literal, variants))})")
    if len(rows):
        return next(view.rows_caught(name, "A category in several spellings", f"write {shown}.", rows))
    return view.finding(name, "A category in several spellings", f"Among the values is {shown}.", value=len(variants))


@check(
    "truncated_text",
    "fail",
    needs=["previous"],
    parameters={"min_share": Parameter(0.01, "share of the previous texts that would have been cut", 0, 1)},
)
def truncated_text(view: View) -> Iterator[Finding]:
    """Texts cut at one length, against the previous data."""
    for name, before, after in view.shared("string"):
        earlier, present = before.get("values") or {}, after.get("values") or {}
        length = max(map(len, present), default=0)
        longer = {value: count for value, count in earlier.items() if len(value) > length}
        total = sum(earlier.values())
        if not length or sum(longer.values()) < max(1, view.settings.of(name)["min_share"] * total):
            continue
        if _looks_cut(earlier, present, longer, length):
            description = (
                f"No text is longer than {length} characters; in the previous data "
                f"{sum(longer.values()) / total:.2%} were, such as {max(longer, key=len)[:80]!r}."
            )
            longest = max(map(len, longer))
            yield view.finding(
                name, "Texts cut short", description, value=length, threshold=longest, measure="characters"
            )


def _looks_cut(earlier: Mapping[str, int], present: Mapping[str, int], longer: Mapping[str, int], length: int) -> bool:
    """Returns whether the longer texts are there as their beginnings, or the texts pile up at the full length."""
    beginnings = {value[:length] for value in longer} - earlier.keys()
    if 2 * len(beginnings & present.keys()) >= len(beginnings) > 0:
        return True
    return _share_at(present, length) >= 0.3 and _share_at(present, length) > 2 * _share_at(earlier, length)


def _share_at(values: Mapping[str, int], length: int) -> float:
    return sum(count for value, count in values.items() if len(value) == length) / max(1, sum(values.values()))
