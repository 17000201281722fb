"""A small pipeline that shows every state a run can be in; its steps run in the lifecycle environment."""

from kfp import dsl

IMAGE = "shipway/lifecycle:0.1.0"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def write_text(text: str, out: dsl.Output[dsl.Artifact], metrics: dsl.Output[dsl.Metrics], fault: str = "") -> str:
    """Writes a text, or fails in the asked way."""
    import os
    import time

    from shipway.components.common.artifacts import new_directory
    from shipway.components.common.errors import DataRejected
    from shipway.components.common.process import step

    with step():
        print("the step says", text)
        if fault == "rejected":
            raise DataRejected("the text is not wanted; choose another")
        if fault == "bug":
            raise ZeroDivisionError("a bug in the step")
        if fault == "die":
            os.kill(os.getpid(), 9)
        if fault == "slow":
            with open(os.environ["TOY_PID_FILE"], "w") as file:
                file.write(str(os.getpid()))
            time.sleep(120)
        with new_directory(out.path) as directory:
            (directory / "text").write_text(text)
        out.metadata["length"] = len(text)
        metrics.log_metric("length", len(text))
    return text


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def join_texts(left: dsl.Input[dsl.Artifact], right: dsl.Input[dsl.Artifact]) -> str:
    """Joins two artifacts."""
    from pathlib import Path

    return "+".join(Path(a.path, "text").read_text() for a in (left, right))


@dsl.pipeline(name="toy")
def toy(text: str, fault: str = "", count: int = 1, share: float = 0.5, names: list = []):  # noqa: B006
    """Two tasks of one component, one that needs both, and one behind a condition."""
    first = write_text(text=text).set_display_name("first")
    second = write_text(text="second", fault=fault).after(first)
    joined = join_texts(left=first.outputs["out"], right=second.outputs["out"])
    with dsl.If(joined.output == "yes+second"):
        write_text(text="conditional").set_caching_options(False)
