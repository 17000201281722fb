"""One door to stores: ``gs://``, ``s3://``, ``file://``, ``pvc://`` and, to read, ``https://``."""
