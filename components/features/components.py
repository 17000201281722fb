"""The features family's components: one definition of features for training and for serving."""

from kfp import dsl

__all__ = ["create_feature_repository", "materialize_features", "retrieve_features"]

IMAGE = "shipway/features:0.1.0"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def create_feature_repository(
    dataset: dsl.Input[dsl.Dataset],
    schema: dsl.Input[dsl.Artifact],
    repository: dsl.Output[dsl.Artifact],
    key_columns: list[str],
    time_column: str,
    label: str = "",
    feature_view: str = "features",
    max_age_seconds: int = 0,
    online_store: str = "sqlite",
) -> None:
    """Generates a Feast repository: the schema's features, with a Dataset as their history.

    Every feature of the schema becomes a field but the keys, the time, the label and what the schema takes out of the
    environment ``SERVING``. The repository is whole in itself: definitions, registry and data lie in the artifact.

    Args:
        dataset: The features' history: one row per key and moment.
        schema: What ``infer_schema`` wrote.
        repository: ``feature_store.yaml``, ``definitions.py``, ``registry.db`` and ``data/``; metadata: ``features``,
            ``entities``, ``feature_view``, ``online_store``.
        key_columns: What a row is about, such as a customer's number: strings or whole numbers.
        time_column: Since when a row holds: a timestamp, UTC where it has no zone.
        label: Left out of the features.
        feature_view: The view's name, in letters, digits and ``_``.
        max_age_seconds: Older values do not count in a join; 0 lets every age count.
        online_store: ``sqlite`` (a file in the artifact) or ``redis`` (Feast reads its address from the environment
            variable ``FEAST_REDIS_CONNECTION_STRING``, so that no secret is written).

    Raises:
        InputError: When a column is missing or of a type that a feature store does not keep, or nothing is left.
    """
    from shipway.components.common.process import step
    from shipway.components.features import repository as logic

    with step():
        written = logic.create_feature_repository(
            dataset.path,
            schema.path,
            repository.path,
            key_columns=key_columns,
            time_column=time_column,
            label=label,
            feature_view=feature_view,
            max_age_seconds=max_age_seconds,
            online_store=online_store,
        )
        repository.metadata.update(written)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def retrieve_features(
    entities: dsl.Input[dsl.Dataset],
    repository: dsl.Input[dsl.Artifact],
    dataset: dsl.Output[dsl.Dataset],
    time_column: str,
) -> None:
    """Joins features to rows as they were known at each row's moment: training data without a look ahead.

    Args:
        entities: Rows with the repository's keys, a time, and whatever else, such as the label.
        repository: What ``create_feature_repository`` wrote.
        dataset: The same rows in the same order, with the features behind their columns; missing where a key was not
            yet known; metadata: ``rows``, ``columns``, ``digest``, ``features`` (how many), ``unmatched_rows``.
        time_column: The moments of the rows.

    Raises:
        InputError: When a column is missing, or has a feature's name.
    """
    from shipway.components.common.process import step
    from shipway.components.features import retrieval

    with step():
        written = retrieval.retrieve_features(entities.path, repository.path, dataset.path, time_column=time_column)
        dataset.metadata.update(written)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def materialize_features(
    repository: dsl.Input[dsl.Artifact], online_repository: dsl.Output[dsl.Artifact], until: str = ""
) -> None:
    """Writes the newest features of every key to the online store, from which serving reads them.

    Args:
        repository: What ``create_feature_repository`` wrote.
        online_repository: The repository with its registry as of now and, for sqlite, ``online.db``;
            ``shipway.components.features.online.FeatureReader`` reads from it; metadata: ``until``.
        until: Later rows are left out: an ISO date or time, UTC where it names no zone; empty takes all.

    Raises:
        InputError: When ``until`` cannot be read, or lies before all rows.
        TransientError: When the online store does not answer.
    """
    from shipway.components.common.process import step
    from shipway.components.features import online

    with step():
        online_repository.metadata.update(
            online.materialize_features(repository.path, online_repository.path, until=until)
        )
