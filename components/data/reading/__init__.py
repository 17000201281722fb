"""Files of any format as streaming Arrow record batches: Parquet, CSV (gzip too) and TFRecords of ``tf.train.Example``.

:func:`open_source` looks at one file or a directory, and gives a :class:`Source`: its columns with the types that
all rows need, and units, parts of files that can be read in any order, by any process, in little memory.
"""

from __future__ import annotations

from shipway.components.data.reading.source import Source, open_source
from shipway.components.data.reading.unit import TypesChanged, Unit

__all__ = ["Source", "TypesChanged", "Unit", "open_source"]
