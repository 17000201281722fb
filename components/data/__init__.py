"""The data family: ingest, transform, split, statistics, schema, validation and preparation of tables."""
