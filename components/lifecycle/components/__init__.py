"""The lifecycle family's components: judge models, release the better one, serve it, make it champion."""

from shipway.components.lifecycle.components.archives import create_torchserve_archive
from shipway.components.lifecycle.components.cluster import train_distributed
from shipway.components.lifecycle.components.deployment import deploy_model, promote_model, smoke_test
from shipway.components.lifecycle.components.judgement import (
    evaluate_model,
    predict,
    predict_champion,
    select_model,
    train_baselines,
)
from shipway.components.lifecycle.components.optimization import quantize_model
from shipway.components.lifecycle.components.releases import (
    create_release,
    download_release,
    replicate_release,
    resolve_champion,
)

__all__ = [
    "create_release",
    "create_torchserve_archive",
    "deploy_model",
    "download_release",
    "evaluate_model",
    "predict",
    "predict_champion",
    "promote_model",
    "quantize_model",
    "replicate_release",
    "resolve_champion",
    "select_model",
    "smoke_test",
    "train_baselines",
    "train_distributed",
]
