"""The run report: what it says, what it leaves out, what it must never hold, how it looks."""

import copy
import html
import json
import math
import re
import shlex
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from shipway.pipelines.report import write_report
from shipway.pipelines.report.layout import layered

CHROMIUM = "/usr/bin/chromium"
HOSTILE = "<script>alert(1)</script>"

TASKS = {
    "resolve-data": ("data", []),
    "ingest-data": ("data", ["resolve-data"]),
    "transform-data": ("data", ["ingest-data"]),
    "split-data": ("data", ["transform-data"]),
    "generate-statistics": ("data", ["split-data"]),
    "generate-statistics-2": ("data", ["split-data"]),
    "infer-schema": ("data", ["generate-statistics"]),
    "validate-data": ("data", ["generate-statistics", "infer-schema"]),
    "validate-data-2": ("data", ["generate-statistics-2", "infer-schema"]),
    "prepare-data": ("data", ["split-data", "validate-data", "validate-data-2"]),
    "train-baselines": ("lifecycle", ["prepare-data"]),
    "resolve-champion": ("lifecycle", ["infer-schema"]),
    "predict-champion": ("lifecycle", ["prepare-data", "resolve-champion"]),
    "train-pytorch": ("pytorch", ["prepare-data"]),
    "train-tensorflow": ("tensorflow", ["prepare-data"]),
    "predict": ("lifecycle", ["prepare-data", "train-pytorch"]),
    "predict-2": ("lifecycle", ["prepare-data", "train-tensorflow"]),
    "evaluate-model": ("lifecycle", ["train-pytorch", "predict", "predict-champion"]),
    "evaluate-model-2": ("lifecycle", ["train-tensorflow", "predict-2", "predict-champion"]),
    "select-model": ("lifecycle", ["evaluate-model", "evaluate-model-2", "train-pytorch", "train-tensorflow"]),
    "create-release": ("lifecycle", ["select-model", "infer-schema"]),
    "deploy-model": ("lifecycle", ["select-model", "create-release"]),
    "smoke-test": ("lifecycle", ["select-model", "deploy-model"]),
    "promote-model": ("lifecycle", ["select-model", "deploy-model", "smoke-test"]),
}
SECONDS = [
    0.3,
    2.1,
    1.4,
    1.2,
    8.9,
    6.2,
    3.4,
    3.1,
    3.0,
    2.6,
    11.2,
    0.2,
    1.0,
    28.4,
    34.9,
    1.9,
    1.8,
    4.2,
    4.1,
    0.6,
    0.8,
    6.3,
    1.1,
    0.2,
]
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
        for a, b in zip(edges, edges[1:])
    ]


def numeric(name, low, high, centre, width, missing=0.0):
    return {
        "name": name, "type": "FLOAT", "missing": int(missing * 244000), "missing_fraction": missing, "unique": None,
        "mean": centre, "std": width / 1.4, "min": low, "median": centre, "max": high, "zeros": 3,
        "histogram": bell(low, high, centre, width), "top_values": [],
    }  # fmt: skip


def categorical(name, values):
    top = [{"value": value, "count": 81000 // (rank + 1)} for rank, value in enumerate(values)]
    return {
        "name": name,
        "type": "STRING",
        "missing": 0,
        "missing_fraction": 0.0,
        "unique": len(values),
        "top_values": top,
    }


def summary(rows):
    numbers = [
        numeric("month", 1, 12, 5, 4), numeric("sched_dep_hour", 5, 23, 13, 6), numeric("distance", 80, 4983, 1040, 900),
        numeric("temp", 10, 100, 56, 22, 0.0047), numeric("wind_gust", 16, 67, 25, 8, 0.763),
        numeric("visib", 0, 10, 9.5, 1.5), numeric("pressure", 983, 1042, 1017, 9, 0.114),
    ]  # fmt: skip
    words = [
        categorical("carrier", ["UA", "B6", "EV", "DL", "AA", "MQ"]), categorical("origin", ["EWR", "JFK", "LGA"]),
        categorical("late", ["false", "true"]), categorical(HOSTILE, ["a & b", HOSTILE]),
    ]  # fmt: skip
    return {"rows": rows, "columns": [*words, *numbers]}


def model(framework, best):
    history = [
        {
            "epoch": e,
            "loss": 0.55 + 0.14 / e,
            "validation_loss": 0.57 + 0.12 / e + 0.001 * e,
            "validation_roc_auc": best - 0.05 / e,
        }
        for e in range(1, 11)
    ]
    return {
        "format_version": 1, "name": "flights", "framework": framework, "digest": DIGESTS[framework], "task": "binary",
        "label": "late", "label_names": ["false", "true"], "inputs": [{"name": "origin"}, {"name": "temp"}],
        "history": history, "training": {"epochs": 10, "hidden_units": [128, 64], "learning_rate": 0.001, "seconds": 21.5},
    }  # fmt: skip


def evaluation(framework, auc):
    return {
        "format_version": 1, "model": {"name": "flights", "digest": DIGESTS[framework], "framework": framework},
        "task": "binary", "label_names": ["false", "true"], "rows": 55291, "overall": overall(auc),
        "baseline": {"roc_auc": 0.5, "log_loss": 0.5212},
        "champion": {"digest": "sha256:" + "5" * 64, "roc_auc": interval(0.681), "gain": interval(auc - 0.681, 0.002)},
        "slices": [
            {"column": "origin", "value": value, "rows": 18000, "metrics": {"roc_auc": interval(auc - less)}}
            for value, less in (("JFK", -0.01), ("EWR", 0.03), ("LGA", 0.004))
        ],
        "roc_curves": [roc(auc)],
        "confusion_matrix": {"labels": ["false", "true"], "matrix": [[33012, 10244], [5011, 7024]], "threshold": 0.5},
    }  # fmt: skip


def blessing(framework, passed):
    reasons = [
        {
            "check": "min_auc_gain_over_baseline", "threshold": 0.0, "value": 0.19, "passed": True,
            "message": "ROC AUC is 0.19 above the class shares' 0.5",
        },
        {
            "check": "max_loss_vs_champion", "threshold": 0.005, "value": -0.01 if passed else 0.02, "passed": passed,
            "message": "against the champion it " + ("gains 0.01" if passed else "loses 0.02 ROC AUC"),
        },
    ]  # fmt: skip
    return {"blessed": passed, "model_digest": DIGESTS[framework], "reasons": reasons}


GOLDEN = {
    "instances": [{"origin": None, "temp": 39.02}, {"origin": "O'Hare", "temp": 51.1}],
    "scores": [[0.7, 0.3], [0.25, 0.75]],
    "labels": ["false", "true"],
    "tolerance": 1e-4,
}
BASELINES = {
    "baselines": [
        {"name": "hist_gradient_boosting", "title": "HistGradientBoosting", "overall": overall(0.693), "roc_curves": [roc(0.693)]},
        {"name": "logistic_regression", "title": "Logistic regression", "overall": overall(0.662), "roc_curves": [roc(0.662)]},
    ]
}  # fmt: skip
ANOMALY = {"feature": "carrier", "kind": "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "short": "Unexpected string values",
           "description": "Examples contain values missing from the schema: ZZ (~1%)."}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A finished run of the flights pipeline with every artifact as the components write them."""
    return make_run(tmp_path)


def make_run(root):
    release = root / "releases/flights/a1b2c3d4a1b2c3d4"
    published = {"name": "flights", "release": release.name, "digest": "sha256:" + "7f" * 32, "uri": str(release)}
    pytorch, tensorflow = model("pytorch", 0.70), model("tensorflow", 0.695)
    artifacts = {
        "generate-statistics": {"statistics": {"summary.json": summary(244123)}},
        "generate-statistics-2": {"statistics": {"summary.json": summary(55291)}},
        "validate-data": {"anomalies": {"anomalies.json": {"rows": 244123, "anomalies": []}}},
        "validate-data-2": {"anomalies": {"anomalies.json": {"rows": 55291, "anomalies": [ANOMALY]}}},
        "train-baselines": {"baselines": {"metrics.json": BASELINES}},
        "train-pytorch": {"model": {"model.json": pytorch, "golden.json": GOLDEN}},
        "train-tensorflow": {"model": {"model.json": tensorflow, "golden.json": GOLDEN}},
        "evaluate-model": {"evaluation": {"metrics.json": evaluation("pytorch", 0.691), "blessing.json": blessing("pytorch", True)}},
        "evaluate-model-2": {"evaluation": {"metrics.json": evaluation("tensorflow", 0.687), "blessing.json": blessing("tensorflow", False)}},
        "select-model": {
            "model": {"model.json": pytorch, "golden.json": GOLDEN},
            "evaluation": {"metrics.json": evaluation("pytorch", 0.691), "blessing.json": blessing("pytorch", True)},
        },
        "create-release": {"release": {"release.json": published}},
        "deploy-model": {"endpoint": {"endpoint.json": {"name": "flights", "target": "local", "protocols": ["v1", "v2"], "undo": "shipway rollback flights"}}},
    }  # fmt: skip
    tasks = []
    for (name, (image, depends_on)), seconds in zip(TASKS.items(), SECONDS):
        outputs = {}
        for output, files in artifacts.get(name, {}).items():
            place = root / "run" / name / output
            write_files(place, files)
            outputs[output] = {"uri": str(place), "type": "system.Artifact", "metadata": {}}
        cached = name in ("ingest-data", "transform-data")
        tasks.append({
            "name": name, "image": f"shipway/{image}:0.1.0", "status": "CACHED" if cached else "SUCCEEDED",
            "seconds": 0.0 if cached else seconds, "depends_on": depends_on, "outputs": outputs, "error": None, "log": None,
        })  # fmt: skip
    write_files(
        release, {"MANIFEST.json": {"model_digest": DIGESTS["pytorch"], "files": [{"path": "a", "size": 3 << 20}]}}
    )
    url = "http://127.0.0.1:8091"
    return {
        "pipeline": "train-and-deploy", "run_id": "20251123-061702-train-and-deploy", "status": "SUCCEEDED",
        "started": "2025-11-23T06:17:02+00:00", "seconds": 134.2,
        "parameters": {"data_uri": "runs/data/flights", "label": "late", "slice_columns": ["origin", "carrier"], "sql": "SELECT 1"},
        "digests": {"data": "sha256:" + "d" * 64, "code": {"data": "sha256:" + "c" * 64}, "locks": {"data": "sha256:" + "e" * 64}},
        "tasks": tasks, "release": {key: published[key] for key in ("name", "digest", "uri")},
        "endpoint": {"name": "flights", "url": url, "predict_url": f"{url}/v1/models/flights:predict"},
        "error": None, "report": str(root / "report.html"),
    }  # fmt: skip


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


def report(run, tmp_path):
    write_report(run, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def section(page, title):
    """Returns a section's text as a reader sees it; empty where the report has no such section."""
    found = re.search(rf'<section id="{title}">(.*?)</section>', page, re.DOTALL)
    return words(found[1]) if found else ""


def words(markup):
    text = re.sub(r"<(title|desc)>.*?</\1>", " ", markup, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_every_section_is_there_and_in_the_navigation(run, tmp_path):
    page = report(run, tmp_path)
    ids = re.findall(r'<section id="([^"]+)">', page)
    assert ids == ["pipeline", "data", "training", "quality", "gate", "release", "endpoint", "reproduce"]
    assert re.findall(r'<a href="#([^"]+)">', page) == ids


def test_the_head_tells_the_outcome(run, tmp_path):
    head = words(report(run, tmp_path).split("<nav")[0].split("<body>")[1])
    for text in (
        "succeeded",
        "2 min 14 s",
        "0.6910 (0.6870 to 0.6950)",
        "PyTorch",
        "7f7f7f7f7f7f",
        "24 tasks, 2 cached",
    ):
        assert text in head


def test_every_task_is_drawn_with_its_state_and_seconds(run, tmp_path):
    page = report(run, tmp_path)
    for name in TASKS:
        assert f'class="name">{name}</text>' in page
    assert page.count('class="node calm"') == 2
    assert "↺ cached" in page
    assert "✓ 34.9 s" in page


def test_data_shows_columns_and_says_plainly_when_nothing_is_odd(run, tmp_path):
    data = section(report(run, tmp_path), "data")
    assert "validate-data: no anomalies in 244,123 rows" in data
    assert "validate-data-2: 1 anomaly in 55,291 rows" in data
    assert "ZZ (~1%)" in data
    assert "76.3 % missing" in data
    assert "244,123 rows, 11 columns" in data


def test_quality_compares_candidates_champion_and_baselines(run, tmp_path):
    page = report(run, tmp_path)
    quality = section(page, "quality")
    for name in ("PyTorch", "TensorFlow", "Champion", "HistGradientBoosting", "Logistic regression", "Class shares"):
        assert name in quality
    assert "HistGradientBoosting, AUC 0.6930" in quality
    assert page.count('class="confusion"') == 2
    assert "33,012" in quality
    slices = quality[quality.index("Slices") :]
    assert slices.index("origin = EWR") < slices.index("origin = LGA") < slices.index("origin = JFK")


def test_the_gate_gives_every_reason(run, tmp_path):
    gate = section(report(run, tmp_path), "gate")
    assert "PyTorch is blessed released" in gate
    assert "TensorFlow is not blessed" in gate
    assert "against the champion it loses 0.02 ROC AUC" in gate


def test_the_curl_command_is_one_a_shell_understands(run, tmp_path):
    page = report(run, tmp_path)
    command = html.unescape(re.search(r'<pre class="copy" tabindex="0">(curl.*?)</pre>', page, re.DOTALL)[1])
    arguments = shlex.split(command)
    assert arguments[2] == "http://127.0.0.1:8091/v1/models/flights:predict"
    assert json.loads(arguments[-1]) == {"instances": [GOLDEN["instances"][1]]}
    endpoint = section(page, "endpoint")
    assert "It answers true : false 0.2500, true 0.7500" in endpoint
    assert "shipway rollback flights" in endpoint
    assert "shipway endpoints stop flights" in endpoint


def test_reproduction_lists_digests_and_parameters(run, tmp_path):
    text = section(report(run, tmp_path), "reproduce")
    for expected in (
        "code data sha256:ccc",
        "locks data sha256:eee",
        'slice_columns ["origin", "carrier"]',
        DIGESTS["pytorch"],
    ):
        assert expected in text


def test_a_failed_run_begins_with_its_error_and_log(tmp_path):
    page = report(make_failed_run(tmp_path), tmp_path)
    assert re.findall(r'<section id="([^"]+)">', page)[0] == "what-went-wrong"
    failure = section(page, "what-went-wrong")
    assert failure.count("has one class; give a label with two or more") == 1
    assert "train-pytorch InputError" in failure
    assert "OSError: no space left <on> device" in failure
    assert "line 499" in failure
    assert "line 100 " not in failure
    assert "\x1b" not in page
    assert section(page, "release") == section(page, "gate") == section(page, "endpoint") == ""


def test_nothing_blessed_is_said(run, tmp_path):
    run |= {"release": None, "endpoint": None}
    run["tasks"] = [t for t in run["tasks"] if t["name"] not in ("select-model", "create-release", "deploy-model")]
    page = report(run, tmp_path)
    assert "Nothing was released" in section(page, "release")
    assert section(page, "endpoint") == ""


@pytest.mark.parametrize("name", [name for name in TASKS])
def test_any_artifact_may_be_absent(run, tmp_path, name):
    next(task for task in run["tasks"] if task["name"] == name)["outputs"] = {}
    assert 'id="pipeline"' in report(run, tmp_path)


def test_a_run_of_next_to_nothing_has_a_report(tmp_path):
    run = {"pipeline": "toy", "run_id": "1", "status": "CANCELLED", "seconds": 0.5, "tasks": []}
    page = report(run, tmp_path)
    assert "cancelled" in page
    assert "<section" not in page


@pytest.mark.parametrize(
    "content", ["[]", "{", "null", '{"model": {}}', '{"rows": 3, "columns": 7}', '{"baselines": [3]}']
)
def test_artifacts_of_another_shape_do_not_end_a_run(run, tmp_path, content):
    for task in run["tasks"]:
        for output in task["outputs"].values():
            for file in Path(output["uri"]).iterdir():
                file.write_text(content)
    assert 'id="reproduce"' in report(run, tmp_path)


def test_artifacts_elsewhere_are_left_out(run, tmp_path):
    for task in run["tasks"]:
        for output in task["outputs"].values():
            output["uri"] = "gs://bucket" + output["uri"]
    assert section(report(run, tmp_path), "quality") == ""


def test_everything_is_escaped(run, tmp_path):
    run["parameters"][HOSTILE] = HOSTILE
    run["tasks"][2]["name"] = run["tasks"][3]["depends_on"][0] = HOSTILE
    page = report(run, tmp_path)
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 5


def test_nothing_is_fetched_and_nothing_runs(run, tmp_path):
    page = report(run, tmp_path)
    assert not re.findall(r"""(?:src|href|action|poster)\s*=\s*["'](?!#)""", page)
    assert not re.findall(r"<(?:script|link|iframe|object|embed|img)\b|@import|url\(|\son\w+=", page)
    assert set(re.findall(r"https?://[^/\s&<\"']+", page)) == {"http://127.0.0.1:8091"}


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    first = report(copy.deepcopy(run), tmp_path)
    assert report(run, tmp_path) == first
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_several_classes_have_a_chart_for_each_model(run, tmp_path):
    for task in ("evaluate-model", "evaluate-model-2"):
        file = tmp_path / "run" / task / "evaluation/metrics.json"
        metrics = json.loads(file.read_text())
        metrics["roc_curves"] = [{**roc(0.9), "label": name} for name in ("Adelie", "Chinstrap", "Gentoo")]
        file.write_text(json.dumps(metrics))
    assert "PyTorch: ROC curve of each class" in section(report(run, tmp_path), "quality")


def test_two_candidates_of_one_framework_keep_names_of_their_own(run, tmp_path):
    for name in ("train-tensorflow/model/model.json", "evaluate-model-2/evaluation/metrics.json"):
        file = tmp_path / "run" / name
        file.write_text(file.read_text().replace('"tensorflow"', '"pytorch"'))
    assert "PyTorch (train-tensorflow)" in section(report(run, tmp_path), "quality")


def test_the_layout_puts_every_task_below_what_it_waits_for_and_none_over_another():
    layout = layered({name: depends_on for name, (_, depends_on) in TASKS.items()}, 170, 20)
    for name, (_, depends_on) in TASKS.items():
        assert all(layout.centres[name][1] > layout.centres[above][1] for above in depends_on)
    for layer in range(layout.layers):
        row = sorted(x for x, rank in layout.centres.values() if rank == layer)
        assert all(b - a >= 189.9 for a, b in zip(row, row[1:]))
        assert row[0] - 85 + 1e-6 >= 0
        assert row[-1] + 85 <= layout.width + 1e-6


def test_edges_that_a_longer_way_implies_are_not_drawn():
    assert set(layered({"a": [], "b": ["a"], "c": ["a", "b"]}, 10, 5).edges) == {("a", "b"), ("b", "c")}


def test_a_circle_of_tasks_is_refused():
    with pytest.raises(ValueError, match="circle: a, b"):
        layered({"a": ["b"], "b": ["a"]}, 10, 5)


@pytest.mark.chromium
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_draws_it_without_complaint(run, tmp_path, dark):
    report(run, tmp_path)
    picture = tmp_path / "report.png"
    complaints = photograph(tmp_path / "report.html", picture, dark)
    assert "CONSOLE" not in complaints
    width, height, colours = picture_of(picture)
    assert (width, height) == (1280, 1600)
    assert len(colours) > 60
    background = (17, 21, 27) if dark else (247, 247, 245)
    assert colours[background] > 0.05 * width * height / 16


def photograph(page, picture, dark=False, width=1280, height=1600):
    """Renders a page with Chromium into a PNG; returns what the browser logged."""
    profile = picture.with_suffix(".profile")
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}",
            "--enable-logging=stderr", *scheme, f"--window-size={width},{height}", f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    return done.stderr


def picture_of(path):
    """Returns width, height and how often each colour occurs in every fourth pixel of every fourth row of a PNG."""
    data, position, packed = path.read_bytes(), 8, b""
    while position < len(data):
        (size,), kind = struct.unpack(">I", data[position : position + 4]), data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour_type = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            packed += body
        position += size + 12
    assert depth == 8
    channels = {2: 3, 6: 4}[colour_type]
    raw, stride, previous, colours = zlib.decompress(packed), width * channels, bytes(width * channels), {}
    for y in range(height):
        start = y * (stride + 1)
        previous = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), previous, channels)
        if y % 4 == 0:
            for x in range(0, stride, 4 * channels):
                colour = tuple(previous[x : x + 3])
                colours[colour] = colours.get(colour, 0) + 1
    return width, height, colours


def unfiltered(kind, line, above, step):
    """Undoes a PNG row's filter (0 none, 1 left, 2 above, 3 mean, 4 Paeth)."""
    for i in range(len(line)) if kind else ():
        left = line[i - step] if i >= step else 0
        corner = above[i - step] if i >= step else 0
        if kind == 4:
            guess = left + above[i] - corner
            distances = [(abs(guess - value), rank, value) for rank, value in enumerate((left, above[i], corner))]
            line[i] = (line[i] + min(distances)[2]) & 255
        else:
            line[i] = (line[i] + (0, left, above[i], (left + above[i]) // 2)[kind]) & 255
    return bytes(line)
