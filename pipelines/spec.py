"""The compiled pipeline spec: what it asks for, and how it is rewritten to run on this machine.

kfp.local's SubprocessRunner knows one interpreter and one output folder per component. The rewritten
spec gives each task a component and an executor of its own, whose command starts the interpreter of
its image's environment through :mod:`shipway.pipelines.task`.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp.dsl.utils import sanitize_component_name

from shipway.components.common.errors import InputError
from shipway.pipelines.code import family_code_digest
from shipway.pipelines.families import Family, family_of_image

__all__ = ["Task", "load_yaml", "parse_parameters", "rewrite", "tasks_of"]

Spec = dict[str, Any]

_PARSERS: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (float, int),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of a pipeline that runs a container.

    Attributes:
        name: Its name, unique in the pipeline.
        display_name: What the UI calls it.
        image: The image that it runs in.
        depends_on: The tasks that it waits for, those outside its conditional group included.
    """

    name: str
    display_name: str
    image: str
    depends_on: tuple[str, ...]

    @property
    def family(self) -> Family:
        """The family of its image."""
        return family_of_image(self.image)


def tasks_of(spec: Spec) -> list[Task]:
    """Returns the tasks of a compiled pipeline, nested groups included, each after those it depends on."""
    walked = list(_walk(spec, spec["root"], ()))
    names = {task.name for task in walked}
    found = {
        task.name: dataclasses.replace(task, depends_on=tuple(n for n in task.depends_on if n in names))
        for task in walked
    }
    ordered: dict[str, Task] = {}

    def visit(name: str) -> None:
        if name not in ordered:
            for dependency in found[name].depends_on:
                visit(dependency)
            ordered[name] = found[name]

    for name in found:
        visit(name)
    return list(ordered.values())


def _walk(spec: Spec, component: Spec, inherited: tuple[str, ...]) -> Iterator[Task]:
    for name, task in component["dag"]["tasks"].items():
        target = spec["components"][task["componentRef"]["name"]]
        depends_on = (*inherited, *task.get("dependentTasks", ()))
        if "dag" in target:
            yield from _walk(spec, target, depends_on)
        else:
            executor = spec["deploymentSpec"]["executors"][target["executorLabel"]]
            if "container" in executor:
                display_name = task.get("taskInfo", {}).get("name", name)
                yield Task(name, display_name, executor["container"]["image"], depends_on)


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number, as JSON and YAML 1.2 do, and not as a text, as YAML 1.1 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(text: str) -> Any:
    """Returns the value of a YAML text, which JSON is too.

    Raises:
        yaml.YAMLError: When it is neither.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def parse_parameters(spec: Spec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks parameters against a pipeline's inputs; texts are read as YAML where the type asks for it.

    Raises:
        InputError: For a name that the pipeline does not have, a value of the wrong type, or one that is missing.
    """
    inputs: dict[str, Any] = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    pipeline = spec["pipelineInfo"]["name"]
    for name in given:
        if name not in inputs:
            close = difflib.get_close_matches(name, inputs, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(sorted(inputs))}"
            raise InputError(f"the pipeline {pipeline} has no parameter {name!r}; {hint}")
    parsed = {name: _parse(name, value, inputs[name]["parameterType"]) for name, value in given.items()}
    missing = [name for name, definition in inputs.items() if not definition.get("isOptional") and name not in given]
    if missing:
        raise InputError(
            f"the pipeline {pipeline} needs a value for {', '.join(missing)}; give it with -p {missing[0]}=…"
        )
    return parsed


def _parse(name: str, value: Any, kind: str) -> Any:
    wanted: Any = _PARSERS[kind]
    if kind == "STRING" and isinstance(value, datetime.date):  # an unquoted date in a YAML file
        return value.isoformat()
    if isinstance(value, str) and wanted != (str,):
        try:
            value = load_yaml(value)
        except yaml.YAMLError:
            raise InputError(f"the parameter {name} is no {kind}: {value!r}") from None
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise InputError(f"the parameter {name} takes a {kind}, not {value!r}")
    return float(value) if kind == "NUMBER_DOUBLE" else value


def rewrite(spec: Spec, snapshot: Path) -> Spec:
    """Returns the spec that runs on this machine, with the code of a snapshot.

    The digests of a family's lock and code become part of each task's container environment, and so of
    kfp.local's cache key: an edit of either gives fresh results.
    """
    local = copy.deepcopy(spec)
    components, executors = spec["components"], spec["deploymentSpec"]["executors"]
    local["deploymentSpec"]["executors"] = own = {}
    digest_variables = functools.cache(lambda family: _digest_variables(family, snapshot))
    for dag in [local["root"], *local["components"].values()]:
        for name, task in dag.get("dag", {}).get("tasks", {}).items():
            component = components[task["componentRef"]["name"]]
            if "dag" in component:
                continue
            executor = copy.deepcopy(executors[component["executorLabel"]])
            if container := executor.get("container"):
                family = family_of_image(container["image"])
                executor["container"] = _local_container(name, container, family, digest_variables(family))
            own[f"exec-{name}"] = executor
            local["components"][f"comp-{name}"] = {**copy.deepcopy(component), "executorLabel": f"exec-{name}"}
            task["componentRef"] = {"name": f"comp-{name}"}
    while sanitize_component_name(local["pipelineInfo"]["name"]) in local["components"]:
        local["pipelineInfo"]["name"] += "-run"  # kfp would take the pipeline for the component of its name
    return local


def _digest_variables(family: Family, snapshot: Path) -> dict[str, str]:
    return {"SHIPWAY_CODE_DIGEST": family_code_digest(family, snapshot), "SHIPWAY_LOCK_DIGEST": family.lock_digest}


def _local_container(task: str, container: Spec, family: Family, digests: Mapping[str, str]) -> Spec:
    shell, flags, script, *rest = container["command"]
    interpreter = f'"${family.interpreter_variable}"'
    # Variables, not paths: kfp replaces "python3" wherever it stands, and a path would make the cache key local.
    wrapper = f'exec {interpreter} -S -m shipway.pipelines.task "$0" "$@"'
    return {
        **container,
        "command": [shell, "-ec", wrapper, task, shell, flags, script.replace("python3", interpreter), *rest],
        "env": [*container.get("env", ()), *({"name": key, "value": value} for key, value in digests.items())],
    }
