"""TensorFlow Data Validation, loaded without what it does not use and without its dependencies' chatter."""

from __future__ import annotations

import logging
import os
import warnings

# With this TensorFlow does not load Keras while it is imported, which saves a quarter of the time.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

logging.disable(logging.WARNING)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_data_validation
    from tensorflow_data_validation.statistics import stats_impl
    from tensorflow_data_validation.utils import top_k_uniques_stats_util
    from tfx_bsl.arrow import table_util
logging.disable(logging.NOTSET)

__all__ = ["stats_impl", "table_util", "tensorflow_data_validation", "top_k_uniques_stats_util"]
