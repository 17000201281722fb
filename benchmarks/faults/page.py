"""The page about the study."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

__all__ = ["page"]

_INTRODUCTION = """# Which faults are noticed?

`make bench-faults` breaks clean tables on purpose, in {kinds} ways and at several severities, and asks Shipway, TFDV
alone, pandera and Evidently to look at each broken batch. It wrote this page.

**The data.** `flights`: all flights that left New York City in 2013 (with their label `late`, and without the month);
January to September is the reference, the fault strikes October, and October to December show the false alarms.
`breast_cancer`, `penguins` and `randhie`: a third drawn at random is the reference, the other two are the batches.
A fault strikes a column drawn at random, the same one at every severity.

**What each is told.** All know the reference and the batch before (September for October).

- *Shipway*: `generate_statistics`, `infer_schema` from the reference, `validate_data` with every check at its default,
  the batch before as previous data, and what any user would say of the data: the label, the key and time of
  `flights`, and the rules below. A finding that fails the run and one that only warns both count as alarms; the second
  column counts the failing ones alone.
- *TFDV alone*: the schema that it infers from the reference; drift from the batch before of at most {drift} (L-infinity
  for texts, Jensen-Shannon for numbers but the time); half to twice the number of rows.
- *pandera*: the schema that it infers from the reference, made strict, with the key, the same rules, and the values of
  texts that have at most 100.
- *Evidently*: its presets for drift and summary with the tests that they make by themselves, against the batch before.
  It takes seconds for each batch, so it sees only the severest case of each kind, on `flights` and `penguins`.

Rules: {rules}.

**How to read it.** A fault is *caught* when the detector raises an alarm that it does not raise over the same batch
without the fault; to stop with an error is an alarm as well. A *kind* is caught when its severest case is caught in
every data set to which it can happen. Alarms over clean batches are false. Numbers like 7/12 are cases caught
of all cases: severities times data sets. Most faults strike 0.1, 1, 10 and 50 % of the rows; at 0.1 % that is one row
of the small sets.

**What to believe.** Checks were added and their defaults set after earlier rounds of this study, on these very sets and
faults, so Shipway's line shows what it can see, not what it would see of faults nobody thought of. The other detectors
were not tuned.
"""

_ENDS = """
Some of these cannot be seen by anyone: a missing value more where values are missing all the time, one row's value
exchanged for another possible one.
"""


def page(scores: dict[str, Any]) -> str:
    """Returns the page as Markdown.

    Args:
        scores: What :func:`benchmarks.faults.scores.score` returned.
    """
    rules = "; ".join(f"`{rule}`" for described in scores["sets"].values() for rule in described["rules"])
    parts = [
        _INTRODUCTION.format(kinds=len(scores["faults"]), rules=rules, drift=0.1),
        "## In short\n",
        _short(scores["detectors"]),
        "\n## False alarms over clean batches\n",
        _false_alarms(scores["detectors"]),
        "\n## Kind by kind\n",
        _kinds(scores),
        "\n## What Shipway misses\n",
        _missed(scores["detectors"]["Shipway"]["missed"]),
        _ENDS,
    ]
    return "\n".join(parts)


def _short(detectors: dict[str, Any]) -> str:
    rows = [
        [
            title,
            f"{d['kinds_caught']}/{d['kinds']}",
            _share(d["cases_caught"], d["cases"]),
            _share(d["few_caught"], d["few"]),
            f"{sum(n for batch, n in d['false_alarms'].items() if batch.startswith('flights')) / 3:.1f}",
            f"{d['seconds']:.1f}",
        ]
        for title, d in detectors.items()
    ]
    head = [
        "", "kinds caught", "cases caught", "cases of at most 1 % of the rows caught",
        "false alarms a month of flights", "seconds for a month of flights",
    ]  # fmt: skip
    return _table(head, rows)


def _false_alarms(detectors: dict[str, Any]) -> str:
    batches = list(detectors["Shipway"]["false_alarms"])
    rows = [[batch, *(d["false_alarms"].get(batch, "") for d in detectors.values())] for batch in batches]
    raised = [
        f"- {of}, {batch}: {short[0].lower()}{short[1:]}, {feature or 'the dataset'} (`{check}`, {severity})"
        for of, batch, check, feature, short, severity in detectors["Shipway"]["false_alarms_raised"]
    ]
    ours = "\nShipway's:\n\n" + "\n".join(raised) if raised else "\nShipway raised none."
    return _table(["clean batch", *detectors], rows) + "\n" + ours


def _kinds(scores: dict[str, Any]) -> str:
    rows = []
    for name, description in scores["faults"].items():
        kinds = [detector["by_kind"][name] for detector in scores["detectors"].values()]
        cells = [f"{k['caught_cases']}/{k['cases']}{' ✓' if k['caught'] else ''}" if k["cases"] else "" for k in kinds]
        rows.append([f"**{name}**: {description[0].lower()}{description[1:]}", *cells])
    return "✓: the kind is caught.\n\n" + _table(["fault", *scores["detectors"]], rows)


def _missed(missed: list[tuple[str, str, float]]) -> str:
    severities: dict[tuple[str, str], list[str]] = defaultdict(list)
    for fault, of, severity in missed:
        severities[fault, of].append(f"{severity:g}")
    return _table(["fault", "data set", "severities"], [[*case, ", ".join(s)] for case, s in severities.items()])


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({part / whole:.0%})" if whole else ""


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
