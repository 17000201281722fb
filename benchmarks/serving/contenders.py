"""Who serves: ours, its peers, each set up as well as its own options allow, and the least that a server can do."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import environment
from benchmarks.serving.interpreters import family_python
from benchmarks.serving.models import ServedNetwork
from benchmarks.serving.questions import PROTOCOLS
from benchmarks.serving.servers import Contender, Ports

__all__ = [
    "BARE",
    "BARE_GRPC",
    "CONTENDERS",
    "FASTAPI",
    "KSERVE",
    "MLSERVER",
    "OURS",
    "OURS_REST",
    "TORCHSERVE",
    "ours",
]

_HERE = Path(__file__).parent.absolute()
_REST = PROTOCOLS[:3]


def ours(name: str = "shipway", *options: str, protocols: tuple[str, ...] = PROTOCOLS) -> Contender:
    """Returns our server.

    Args:
        name: What the tables call it.
        options: Of its command line, besides where it listens and what it serves.
        protocols: Without gRPC, it is not asked to answer it.
    """

    def command(network: ServedNetwork, ports: Ports, _: Path) -> list[str | Path]:
        given = {"model-dir": network.model, "name": network.name, "port": ports.rest}
        if "gRPC" in protocols:
            given["grpc-port"] = ports.grpc
        usual = [f"--{key}={value}" for key, value in given.items()]
        return [family_python("serving"), "-m", "shipway.serving.server", *usual, *options]

    return Contender(name, protocols, command)


def _bare(network: ServedNetwork, ports: Ports, _: Path) -> list[str | Path]:
    return [family_python("serving"), _HERE / "bare_asgi.py", network.onnx, str(ports.rest)]


def _bare_grpc(network: ServedNetwork, ports: Ports, _: Path) -> list[str | Path]:
    return [family_python("serving"), _HERE / "bare_grpc.py", network.onnx, str(ports.grpc)]


def _kserve(network: ServedNetwork, ports: Ports, _: Path) -> list[str | Path]:
    return [environment("kserve"), _HERE / "usual_kserve.py", network.onnx, str(ports.rest), str(ports.grpc)]


def _fastapi(network: ServedNetwork, ports: Ports, _: Path) -> list[str | Path]:
    return [environment("fastapi"), _HERE / "usual_fastapi.py", network.onnx, str(ports.rest)]


def _mlserver(network: ServedNetwork, ports: Ports, directory: Path) -> list[str | Path]:
    """Without its pool of worker processes, which costs more than it gains."""
    settings = {
        "debug": False, "host": "127.0.0.1", "http_port": ports.rest, "grpc_port": ports.grpc,
        "metrics_port": ports.others[0], "parallel_workers": 0, "gzip_enabled": False,
    }  # fmt: skip
    model = {
        "name": network.name,
        "implementation": "usual_mlserver.Network",
        "parameters": {"uri": str(network.onnx)},
    }
    (directory / "settings.json").write_text(json.dumps(settings))
    (directory / "model-settings.json").write_text(json.dumps(model))
    return ["env", f"PYTHONPATH={_HERE}", environment("mlserver").with_name("mlserver"), "start", directory]


def _torchserve(batch: int) -> Contender:
    def command(network: ServedNetwork, ports: Ports, directory: Path) -> Sequence[str | Path]:
        store = directory / "model-store"
        store.mkdir()
        manifest = {
            "archiverVersion": "0.12.0",
            "model": {"handler": "usual_torchserve.py", "modelName": network.name, "modelVersion": "1.0"},
            "runtime": "python",
        }
        with zipfile.ZipFile(store / f"{network.name}.mar", "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
            archive.write(_HERE / "usual_torchserve.py", "usual_torchserve.py")
            archive.write(network.torchscript, "network.pt")
        model = {
            "marName": f"{network.name}.mar", "minWorkers": 1, "maxWorkers": 1, "batchSize": batch, "maxBatchDelay": 1,
            "responseTimeout": 60, "defaultVersion": True,
        }  # fmt: skip
        settings = {
            "inference_address": f"http://127.0.0.1:{ports.rest}",
            "management_address": f"http://127.0.0.1:{ports.others[0]}",
            "metrics_address": f"http://127.0.0.1:{ports.others[1]}",
            "grpc_inference_port": ports.grpc,
            "grpc_management_port": ports.others[2],
            "disable_token_authorization": "true",
            "disable_system_metrics": "true",
            "metrics_mode": "prometheus",
            "load_models": f"{network.name}.mar",
            "models": json.dumps({network.name: {"1.0": model}}),
        }
        file = directory / "config.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        (directory / "log4j2.xml").write_text(_QUIET)
        python = Path(family_python("torchserve"))
        return [
            *("env", f"PATH={python.parent}:/usr/bin:/bin", f"LOG_LOCATION={directory}", f"TMPDIR={directory}"),
            *(python.parent / "torchserve", "--start", "--foreground", "--ncs", "--model-store", store),
            *("--ts-config", file, "--log-config", directory / "log4j2.xml"),
        ]

    return Contender(f"TorchServe, batch {batch}" if batch > 1 else "TorchServe", ("v1 JSON",), command)


_QUIET = """\
<Configuration>
  <Appenders><Console name="stderr" target="SYSTEM_ERR"/></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="stderr"/></Root></Loggers>
</Configuration>
"""

OURS = ours()
OURS_REST = ours("shipway, REST only", protocols=_REST)
BARE = Contender("bare ASGI", _REST, _bare)
BARE_GRPC = Contender("bare grpc.aio", ("gRPC",), _bare_grpc)
KSERVE = Contender("kserve.ModelServer", PROTOCOLS, _kserve)
MLSERVER = Contender("MLServer", PROTOCOLS[1:], _mlserver)
FASTAPI = Contender("FastAPI", ("v1 JSON",), _fastapi)
TORCHSERVE = [_torchserve(1), _torchserve(16)]
CONTENDERS = [OURS, BARE, BARE_GRPC, KSERVE, MLSERVER, FASTAPI, *TORCHSERVE]
