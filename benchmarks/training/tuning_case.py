"""One tuning: ``python -m benchmarks.training.tuning_case FRAMEWORK REQUEST TEST STUDY TRIALS SECONDS``.

Prints how the best hyperparameters do on TEST beside the given ones, as the tuning itself reports it.
"""

from __future__ import annotations

import json
import sys

from benchmarks.training.trainers import read_request, trainer


def main(framework: str, request_file: str, test: str, study: str, trials: str, seconds: str) -> None:
    """Tunes and prints."""
    from shipway.components.common.tuning.settings import TuningSettings
    from shipway.components.common.tuning.study import tune

    settings = TuningSettings(trials=int(trials), timeout_seconds=float(seconds), study_uri=study, test=test)
    result = tune(read_request(request_file), getattr(trainer(framework), f"train_{framework}"), settings)
    states = [trial.state for trial in result.trials]
    compared = result.comparison.to_json() if result.comparison else None
    print(json.dumps({"comparison": compared, "best": result.best_json, "states": states}))


if __name__ == "__main__":
    main(*sys.argv[1:])
