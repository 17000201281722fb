"""From Parquet files to batches of tensors, column by column, in a fixed amount of memory.

Row groups are read in a shuffled order, several at a time; what was read from them makes a window, whose rows are
shuffled again and dealt out in batches. Windows and batches are made ahead in threads. Everything follows from seed and
epoch, so a training that was stopped finds its place again.
"""

from shipway.components.common.training.input.batches import Batch, Examples
from shipway.components.common.training.input.files import ParquetRows
from shipway.components.common.training.input.survey import LabelCoder, Survey, survey

__all__ = ["Batch", "Examples", "LabelCoder", "ParquetRows", "Survey", "survey"]
