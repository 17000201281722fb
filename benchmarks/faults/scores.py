"""From alarms to scores.

A detector catches a fault in a batch when it raises an alarm that it does not raise over the same batch without the
fault. A kind counts as caught when its severest case is caught in every data set that it can happen to.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["DETECTORS", "score"]

DETECTORS = {
    "evidently": "Evidently",
    "shipway": "Shipway",
    "tfdv": "TFDV alone",
    "pandera": "pandera",
}
_FEW = 0.01

Result = dict[str, Any]


def score(index: Mapping[str, Any], results: Mapping[str, list[Result]]) -> dict[str, Any]:
    """Returns the scores of all detectors.

    Args:
        index: What ``batches.py`` wrote.
        results: What each detector wrote, by its name.

    Returns:
        ``faults`` (name to description), ``detectors`` (title to scores) and ``columns`` (the order of the titles).
    """
    columns = {"Shipway": results["shipway"], "Shipway, fail only": _failures(results["shipway"])}
    columns |= {title: results[name] for name, title in DETECTORS.items() if name != "shipway"}
    faults = {name: fault["description"] for name, fault in index["faults"].items()}
    scored = {title: _detector(of, faults) for title, of in columns.items()}
    # A kind that happens to no data set, or changes nothing, is none.
    happened = [name for name in faults if scored["Shipway"]["by_kind"][name]["cases"]]
    return {"faults": {name: faults[name] for name in happened}, "detectors": scored, "sets": index["sets"]}


def _failures(results: Iterable[Result]) -> list[Result]:
    return [{**r, "alarms": [a for a in r["alarms"] if a[-1] == "fail" or a[0] == "error"]} for r in results]


def _detector(results: list[Result], faults: Iterable[str]) -> dict[str, Any]:
    clean = {(r["set"], r["clean"]): [tuple(alarm) for alarm in r["alarms"]] for r in results if "clean" in r}
    cases = [_case(r, clean[r["set"], r["clean_batch"]]) for r in results if "fault" in r and r["changed"]]
    by_kind = {name: _kind([case for case in cases if case["fault"] == name]) for name in faults}
    few = [case for case in cases if case["is_share"] and case["severity"] <= _FEW]
    return {
        "kinds": sum(bool(kind["cases"]) for kind in by_kind.values()),
        "kinds_caught": sum(kind["caught"] for kind in by_kind.values()),
        "cases": len(cases),
        "cases_caught": sum(case["caught"] for case in cases),
        "few": len(few),
        "few_caught": sum(case["caught"] for case in few),
        "false_alarms": {f"{of}, {batch}": len(alarms) for (of, batch), alarms in clean.items()},
        "false_alarms_raised": [[of, batch, *alarm] for (of, batch), alarms in clean.items() for alarm in alarms],
        "seconds": statistics.median(r["seconds"] for r in results if r["set"] == "flights"),
        "by_kind": by_kind,
        "missed": [[c["fault"], c["set"], c["severity"]] for c in cases if not c["caught"]],
    }


def _case(result: Result, clean: list[tuple[str, ...]]) -> Result:
    caught = any(tuple(alarm) not in clean for alarm in result["alarms"])
    return {**result, "caught": caught}


def _kind(cases: list[Result]) -> dict[str, Any]:
    severest = [case for case in cases if case["severest"]]
    return {
        "cases": len(cases),
        "caught_cases": sum(case["caught"] for case in cases),
        "caught": bool(severest) and all(case["caught"] for case in severest),
    }
