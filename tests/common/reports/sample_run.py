"""A finished run of the flights pipeline, with every artifact as the components write them, made from plain JSON."""

import itertools
import json
import math

HOSTILE = "<script>alert(1)</script>"

TASKS = {
    "resolve-data": ("data", 0.3, []),
    "ingest-data": ("data", 2.1, ["resolve-data"]),
    "transform-data": ("data", 1.4, ["ingest-data"]),
    "split-data": ("data", 1.2, ["transform-data"]),
    "generate-statistics": ("data", 8.9, ["split-data"]),
    "generate-statistics-2": ("data", 6.2, ["split-data"]),
    "infer-schema": ("data", 3.4, ["generate-statistics"]),
    "validate-data": ("data", 3.1, ["generate-statistics", "infer-schema"]),
    "validate-data-2": ("data", 3.0, ["generate-statistics-2", "infer-schema"]),
    "prepare-data": ("data", 2.6, ["split-data", "validate-data", "validate-data-2"]),
    "train-baselines": ("lifecycle", 11.2, ["prepare-data"]),
    "resolve-champion": ("lifecycle", 0.2, ["infer-schema"]),
    "predict-champion": ("lifecycle", 1.0, ["prepare-data", "resolve-champion"]),
    "train-pytorch": ("pytorch", 28.4, ["prepare-data"]),
    "train-tensorflow": ("tensorflow", 34.9, ["prepare-data"]),
    "predict": ("lifecycle", 1.9, ["prepare-data", "train-pytorch"]),
    "predict-2": ("lifecycle", 1.8, ["prepare-data", "train-tensorflow"]),
    "evaluate-model": ("lifecycle", 4.2, ["train-pytorch", "predict", "predict-champion"]),
    "evaluate-model-2": ("lifecycle", 4.1, ["train-tensorflow", "predict-2", "predict-champion"]),
    "select-model": ("lifecycle", 0.6, ["evaluate-model", "evaluate-model-2", "train-pytorch", "train-tensorflow"]),
    "create-release": ("lifecycle", 0.8, ["select-model", "infer-schema"]),
    "deploy-model": ("lifecycle", 6.3, ["select-model", "create-release"]),
    "smoke-test": ("lifecycle", 1.1, ["select-model", "deploy-model"]),
    "promote-model": ("lifecycle", 0.2, ["select-model", "deploy-model", "smoke-test"]),
}
DIGESTS = {"pytorch": "sha256:" + "a1b2c3d4" * 8, "tensorflow": "sha256:" + "99887766" * 8}


def interval(value, half=0.004):
    return {"value": value, "low": value - half, "high": value + half}


def roc(auc):
    power = auc / (1 - auc)
    fpr = [i / 100 for i in range(101)]
    return {"label": "late", "fpr": fpr, "tpr": [1 - (1 - x) ** power for x in fpr]}


def overall(auc):
    return {
        "roc_auc": interval(auc),
        "pr_auc": interval(auc - 0.25),
        "log_loss": interval(1.15 - auc),
        "accuracy": interval(auc + 0.08),
        "brier": interval(0.9 - auc),
    }


def bell(low, high, centre, width, bins=20):
    step = (high - low) / bins
    edges = [low + step * i for i in range(bins + 1)]
    return [
        {"low": a, "high": b, "count": round(9000 * math.exp(-((((a + b) / 2 - centre) / width) ** 2)))}
        for a, b in itertools.pairwise(edges)
    ]


def numeric(name, low, high, centre, width, missing=0.0):
    return {
        "name": name,
        "type": "FLOAT",
        "missing_fraction": missing,
        "unique": None,
        "mean": centre,
        "std": width / 1.4,
        "min": low,
        "median": centre,
        "max": high,
        "histogram": bell(low, high, centre, width),
    }


def categorical(name, values):
    top = [{"value": value, "count": 81000 // (rank + 1)} for rank, value in enumerate(values)]
    return {
        "name": name,
        "type": "STRING",
        "missing_fraction": 0.0,
        "unique": len(values),
        "top_values": top,
    }


def summary(rows):
    numbers = [
        numeric("month", 1, 12, 5, 4),
        numeric("sched_dep_hour", 5, 23, 13, 6),
        numeric("distance", 80, 4983, 1040, 900),
        numeric("temp", 10, 100, 56, 22, 0.0047),
        numeric("wind_gust", 16, 67, 25, 8, 0.763),
        numeric("visib", 0, 10, 9.5, 1.5),
        numeric("pressure", 983, 1042, 1017, 9, 0.114),
    ]
    words = [
        categorical("carrier", ["UA", "B6", "EV", "DL", "AA", "MQ"]),
        categorical("origin", ["EWR", "JFK", "LGA"]),
        categorical("late", ["false", "true"]),
        categorical(HOSTILE, ["a & b", HOSTILE]),
    ]
    return {"rows": rows, "columns": [*words, *numbers]}


def model(framework, best):
    worse = 0.0 if framework == "pytorch" else 0.006
    history = [
        {
            "epoch": e,
            "loss": 0.55 + worse + 0.14 / e,
            "validation_loss": 0.57 + worse + 0.12 / e + 0.001 * e,
            "validation_roc_auc": best - 0.05 / e,
        }
        for e in range(1, 11)
    ]
    return {
        "format_version": 1,
        "name": "flights",
        "framework": framework,
        "digest": DIGESTS[framework],
        "task": "binary",
        "label": "late",
        "label_names": ["false", "true"],
        "inputs": [{"name": "origin"}, {"name": "temp"}],
        "history": history,
        "training": {"epochs": 10, "hidden_units": [128, 64], "learning_rate": 0.001, "seconds": 21.5},
    }


def evaluation(framework, auc):
    return {
        "format_version": 1,
        "model": {"name": "flights", "digest": DIGESTS[framework], "framework": framework},
        "task": "binary",
        "label_names": ["false", "true"],
        "rows": 55291,
        "overall": overall(auc),
        "baseline": {"roc_auc": 0.5, "log_loss": 0.5212},
        "champion": {"digest": "sha256:" + "5" * 64, "roc_auc": interval(0.681), "gain": interval(auc - 0.681, 0.002)},
        "slices": [
            {"column": "origin", "value": value, "rows": 18000, "metrics": {"roc_auc": interval(auc - less)}}
            for value, less in (("JFK", -0.01), ("EWR", 0.03), ("LGA", 0.004))
        ],
        "roc_curves": [roc(auc)],
        "confusion_matrix": {"labels": ["false", "true"], "matrix": [[33012, 10244], [5011, 7024]], "threshold": 0.5},
    }


def blessing(framework, passed):
    reasons = [
        {
            "check": "min_auc_gain_over_baseline",
            "threshold": 0.0,
            "value": 0.19,
            "passed": True,
            "message": "ROC AUC is 0.19 above the class shares' 0.5",
        },
        {
            "check": "max_loss_vs_champion",
            "threshold": 0.005,
            "value": -0.01 if passed else 0.02,
            "passed": passed,
            "message": "against the champion it " + ("gains 0.01" if passed else "loses 0.02 ROC AUC"),
        },
    ]
    return {"blessed": passed, "model_digest": DIGESTS[framework], "reasons": reasons}


GOLDEN = {
    "instances": [{"origin": None, "temp": 39.02}, {"origin": "O'Hare", "temp": 51.1}],
    "scores": [[0.7, 0.3], [0.25, 0.75]],
    "labels": ["false", "true"],
    "tolerance": 1e-4,
}
BASELINES = {
    "baselines": [
        {
            "name": "hist_gradient_boosting",
            "title": "HistGradientBoosting",
            "overall": overall(0.693),
            "roc_curves": [roc(0.693)],
        },
        {
            "name": "logistic_regression",
            "title": "Logistic regression",
            "overall": overall(0.662),
            "roc_curves": [roc(0.662)],
        },
    ]
}
ANOMALY = {
    "feature": "carrier",
    "kind": "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
    "short": "Unexpected string values",
    "description": "Examples contain values missing from the schema: ZZ (~1%).",
}


def artifacts_of(published):
    """Returns the files of each task's outputs."""
    pytorch, tensorflow = model("pytorch", 0.70), model("tensorflow", 0.695)
    judged = {"metrics.json": evaluation("pytorch", 0.691), "blessing.json": blessing("pytorch", True)}
    rejected = {"metrics.json": evaluation("tensorflow", 0.687), "blessing.json": blessing("tensorflow", False)}
    endpoint = {"name": "flights", "target": "local", "protocols": ["v1", "v2"], "undo": "shipway rollback flights"}
    return {
        "generate-statistics": {"statistics": {"summary.json": summary(244123)}},
        "generate-statistics-2": {"statistics": {"summary.json": summary(55291)}},
        "validate-data": {"anomalies": {"anomalies.json": {"rows": 244123, "anomalies": []}}},
        "validate-data-2": {"anomalies": {"anomalies.json": {"rows": 55291, "anomalies": [ANOMALY]}}},
        "train-baselines": {"baselines": {"metrics.json": BASELINES}},
        "train-pytorch": {"model": {"model.json": pytorch, "golden.json": GOLDEN}},
        "train-tensorflow": {"model": {"model.json": tensorflow, "golden.json": GOLDEN}},
        "evaluate-model": {"evaluation": judged},
        "evaluate-model-2": {"evaluation": rejected},
        "select-model": {"model": {"model.json": pytorch, "golden.json": GOLDEN}, "evaluation": judged},
        "create-release": {"release": {"release.json": published}},
        "deploy-model": {"endpoint": {"endpoint.json": endpoint}},
    }


def make_run(root):
    """Writes the artifacts below ``root`` and returns the run record."""
    release = root / "releases/flights/a1b2c3d4a1b2c3d4"
    published = {"name": "flights", "release": release.name, "digest": "sha256:" + "7f" * 32, "uri": str(release)}
    artifacts = artifacts_of(published)
    tasks = []
    for name, (image, seconds, depends_on) in TASKS.items():
        outputs = {}
        for output, files in artifacts.get(name, {}).items():
            place = root / "run" / name / output
            write_files(place, files)
            outputs[output] = {"uri": str(place), "type": "system.Artifact", "metadata": {}}
        cached = name in ("ingest-data", "transform-data")
        tasks.append(
            {
                "name": name,
                "image": f"shipway/{image}:0.1.0",
                "status": "CACHED" if cached else "SUCCEEDED",
                "seconds": 0.0 if cached else seconds,
                "depends_on": list(depends_on),
                "outputs": outputs,
                "error": None,
                "log": None,
            }
        )
    write_files(
        release, {"MANIFEST.json": {"model_digest": DIGESTS["pytorch"], "files": [{"path": "a", "size": 3 << 20}]}}
    )
    url = "http://127.0.0.1:8091"
    return {
        "pipeline": "train-and-deploy",
        "run_id": "20251123-061702-train-and-deploy",
        "status": "SUCCEEDED",
        "started": "2025-11-23T06:17:02+00:00",
        "seconds": 134.2,
        "parameters": {
            "data_uri": "runs/data/flights",
            "label": "late",
            "slice_columns": ["origin", "carrier"],
            "sql": "SELECT 1",
        },
        "digests": {
            "data": "sha256:" + "d" * 64,
            "code": {"data": "sha256:" + "c" * 64},
            "locks": {"data": "sha256:" + "e" * 64},
        },
        "tasks": tasks,
        "release": {key: published[key] for key in ("name", "digest", "uri")},
        "endpoint": {"name": "flights", "url": url, "predict_url": f"{url}/v1/models/flights:predict"},
        "error": None,
        "report": str(root / "report.html"),
    }


def make_failed_run(root):
    """The same run, whose first training died."""
    run = make_run(root)
    log = root / "train-pytorch.log"
    log.write_text("".join(f"line {i}\n" for i in range(500)) + "\x1b[31mOSError: no space left <on> device\x1b[0m\n")
    message = f"the label column {HOSTILE} has one class; give a label with two or more"
    run |= {"status": "FAILED", "release": None, "endpoint": None, "error": {"type": "InputError", "message": message}}
    for task in run["tasks"][13:]:
        task |= {"status": "SKIPPED", "seconds": 0.0, "outputs": {}}
    run["tasks"][13] |= {"status": "FAILED", "seconds": 3.1, "error": run["error"], "log": str(log)}
    return run


def write_files(place, files):
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_text(json.dumps(content))
