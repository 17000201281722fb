"""The run report: what it says, what it leaves out, what it must never hold, how it looks."""

import copy
import html
import importlib.util
import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from shipway.pipelines.report import write_report
from shipway.pipelines.report.layout import layered


def _load(name):
    path = Path(__file__).parents[1] / "common/reports" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser, sample = _load("browser"), _load("sample_run")
DIGESTS, GOLDEN, HOSTILE, TASKS = sample.DIGESTS, sample.GOLDEN, sample.HOSTILE, sample.TASKS


@pytest.fixture
def run(tmp_path):
    return sample.make_run(tmp_path)


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
    assert "✓ 35 s" in page


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
    assert "It answers true with the scores false: 0.2500, true: 0.7500" in endpoint
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
    page = report(sample.make_failed_run(tmp_path), tmp_path)
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


@pytest.mark.parametrize("name", list(TASKS))
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
        metrics["roc_curves"] = [{**sample.roc(0.9), "label": name} for name in ("Adelie", "Chinstrap", "Gentoo")]
        file.write_text(json.dumps(metrics))
    assert "PyTorch: ROC curve of each class" in section(report(run, tmp_path), "quality")


def test_two_candidates_of_one_framework_keep_names_of_their_own(run, tmp_path):
    for name in ("train-tensorflow/model/model.json", "evaluate-model-2/evaluation/metrics.json"):
        file = tmp_path / "run" / name
        file.write_text(file.read_text().replace('"tensorflow"', '"pytorch"'))
    assert "PyTorch (train-tensorflow)" in section(report(run, tmp_path), "quality")


def test_the_layout_puts_every_task_below_what_it_waits_for_and_none_over_another():
    layout = layered({name: depends_on for name, (*_, depends_on) in TASKS.items()}, 170, 20)
    for name, (*_, depends_on) in TASKS.items():
        assert all(layout.centres[name][1] > layout.centres[above][1] for above in depends_on)
    for layer in range(layout.layers):
        row = sorted(x for x, rank in layout.centres.values() if rank == layer)
        assert all(b - a >= 189.9 for a, b in itertools.pairwise(row))
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
    complaints = browser.photograph(tmp_path / "report.html", picture, dark, width=1000, height=700)
    assert "CONSOLE" not in complaints
    width, height, colours = browser.picture_of(picture)
    assert (width, height) == (1000, 700)
    assert len(colours) > 60
    background = (17, 21, 27) if dark else (247, 247, 245)
    assert colours[background] > 0.05 * width * height / 16
