"""Releases: made once, found by their alias, fetched and copied to where they are needed."""

from kfp import dsl

from shipway.components.lifecycle.components.image import IMAGE

__all__ = ["create_release", "download_release", "replicate_release", "resolve_champion"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def resolve_champion(schema: dsl.Input[dsl.Artifact], model_name: str, release_repository: str = "") -> str:
    """Look up the release that reigns for a model name and a schema.

    Do not cache this step: the answer depends on what was promoted before.

    Args:
        schema: Schema directory (``schema.pbtxt``); champions of other schemas do not count.
        model_name: The name that releases have.
        release_repository: As for create_release.

    Returns:
        The release's URI; empty when there is no champion.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import releases

    with step():
        alias = releases.champion(model_name, releases.schema_digest(schema.path), release_repository)
    return alias["uri"] if alias else ""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def create_release(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    schema: dsl.Input[dsl.Artifact],
    release: dsl.Output[dsl.Artifact],
    model_name: str,
    release_repository: str = "",
) -> str:
    """Publish a blessed model as an immutable release, named by its content.

    It holds the model, its evaluation, the schema and, written last, ``MANIFEST.json`` (size, crc32c, sha256 per file).
    The same model again finds its release and changes nothing.

    Args:
        model: The Model to release.
        evaluation: Its Evaluation, which must bless this very model.
        schema: Schema of the data that it takes.
        release: ``release.json``: name, release (id), digest, model_digest, schema_digest, uri.
        model_name: The name to release under: letters, digits, ``.``, ``_`` and ``-``.
        release_repository: A path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI; empty: ``releases`` below
            the root of local runs.

    Returns:
        The release's URI.

    Raises:
        DataRejected: When the model is not blessed.
        ConflictError: When a release with this id holds something else, or is being made with another evaluation.
        StorageError: When the store fails; run it again to go on.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import releases

    with step():
        document = releases.create_release(
            model.path, evaluation.path, schema.path, release.path, model_name, release_repository
        )
        release.metadata.update({key: document[key] for key in ("name", "release", "digest")})
    return str(document["uri"])


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def download_release(release_uri: str, model: dsl.Output[dsl.Model], release: dsl.Output[dsl.Artifact]) -> None:
    """Fetch a published release, every byte checked against its manifest.

    Args:
        release_uri: A path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI, from create_release or
            resolve_champion.
        model: A copy of its Model.
        release: ``release.json``, which points at the URI: for deploy_model, smoke_test and promote_model.

    Raises:
        InputError: When what is published there is no release.
        DataRejected: When it was changed, or its evaluation does not bless its model.
        StorageError: When there is nothing, or the store fails; run it again to go on.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import copies

    with step():
        document, description = copies.download_release(release_uri, model.path, release.path)
        release.metadata.update({key: document[key] for key in ("name", "release", "digest")})
        model.metadata.update(description.summary)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def replicate_release(release_uri: str, target_repository: str, release: dsl.Output[dsl.Artifact]) -> str:
    """Copy a release to another repository, such as from on-prem to a cloud, its manifest last.

    The copy has the same digests and below its repository the same name; done again, it finds itself and sends nothing.
    No champion is moved: promote_model does that in the target, with its release_repository and this step's output.
    Do not cache this step.

    Args:
        release_uri: A path, or a ``file://``, ``pvc://``, ``gs://`` or ``s3://`` URI, from create_release or
            resolve_champion.
        target_repository: Where to copy it to; likewise.
        release: ``release.json`` of the copy.

    Returns:
        The copy's URI.

    Raises:
        DataRejected: When the release was changed, or its evaluation does not bless its model.
        ConflictError: When the target has a release of the same model and schema with another evaluation.
        StorageError: When there is nothing, or a store fails; run it again to go on.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import copies

    with step():
        document = copies.replicate_release(release_uri, target_repository, release.path)
        release.metadata.update({key: document[key] for key in ("name", "release", "digest")})
    return str(document["uri"])
