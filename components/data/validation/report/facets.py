"""TFDV's own view of statistics, Facets Overview: an option for readers who are online.

Unlike the report, it is no file that stands alone: whoever opens it fetches scripts from two outside hosts,
cdnjs.cloudflare.com and raw.githubusercontent.com.
"""

from __future__ import annotations

from markupsafe import escape
from tensorflow_metadata.proto.v0 import statistics_pb2

from shipway.components.common.errors import InputError
from shipway.components.data.tfdv import tensorflow_data_validation as tfdv

__all__ = ["facets_html"]

_NOTE = "Facets Overview loads its scripts from cdnjs.cloudflare.com and raw.githubusercontent.com."


def facets_html(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    previous: statistics_pb2.DatasetFeatureStatisticsList | None = None,
) -> str:
    """Returns a page with TFDV's Facets view; only a browser that may reach two outside hosts shows it.

    Args:
        statistics: Of this data; of slices, only the whole is shown.
        previous: Of earlier data, to stand beside it.

    Raises:
        InputError: When statistics hold no dataset.
    """
    view = tfdv.utils.display_util.get_statistics_html(
        _whole(statistics),
        _whole(previous) if previous is not None else None,
        lhs_name="this data",
        rhs_name="previous",
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Statistics</title></head>\n'
        f"<body>\n<p>{escape(_NOTE)}</p>\n{view}\n</body>\n</html>\n"
    )


def _whole(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> statistics_pb2.DatasetFeatureStatisticsList:
    if not statistics.datasets:
        raise InputError("the statistics hold no dataset: generate them again with generate_statistics")
    whole = statistics_pb2.DatasetFeatureStatisticsList()
    whole.datasets.add().CopyFrom(statistics.datasets[0])
    whole.datasets[0].ClearField("name")
    return whole
