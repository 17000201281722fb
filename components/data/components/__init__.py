"""The data family's components: raw files in, prepared Datasets out."""

from shipway.components.data.components.ingestion import ingest_data, resolve_data, transform_data
from shipway.components.data.components.preparation import prepare_data, split_data
from shipway.components.data.components.validation import (
    generate_statistics,
    infer_schema,
    propose_schema,
    resolve_schema,
    validate_data,
)

__all__ = [
    "generate_statistics",
    "infer_schema",
    "ingest_data",
    "prepare_data",
    "propose_schema",
    "resolve_data",
    "resolve_schema",
    "split_data",
    "transform_data",
    "validate_data",
]
