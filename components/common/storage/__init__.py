"""One door to stores: ``gs://``, ``s3://``, ``file://``, ``pvc://`` and, to read, ``https://``.

Whatever is read is checked before it has its name, whatever is published never changes, and a kill loses nothing::

    from shipway.components.common import storage

    storage.download("s3://raw/flights/", "flights")
    storage.publish_version("model", "gs://models/flights/3f2a")
    storage.replicate("s3://models/flights/3f2a", "gs://models/flights/3f2a")

How to reach a store, :mod:`.profiles` tells; what goes wrong is a
:class:`~shipway.components.common.errors.StorageError`.
"""

from shipway.components.common.storage.aliases import Alias, read_alias, set_alias
from shipway.components.common.storage.capabilities import Capabilities, capabilities
from shipway.components.common.storage.downloads import Transfer, download
from shipway.components.common.storage.effort import Effort, Options
from shipway.components.common.storage.objects import ObjectInfo
from shipway.components.common.storage.opening import open_store
from shipway.components.common.storage.replication import copy, replicate
from shipway.components.common.storage.store import Store
from shipway.components.common.storage.uploads import upload
from shipway.components.common.storage.versions import Published, publish_version, read_manifest, verify

__all__ = [
    "Alias",
    "Capabilities",
    "Effort",
    "ObjectInfo",
    "Options",
    "Published",
    "Store",
    "Transfer",
    "capabilities",
    "copy",
    "download",
    "open_store",
    "publish_version",
    "read_alias",
    "read_manifest",
    "replicate",
    "set_alias",
    "upload",
    "verify",
]
