"""Releases in the forms that other servers take."""

from kfp import dsl

from shipway.components.lifecycle.components.image import IMAGE

__all__ = ["create_torchserve_archive"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def create_torchserve_archive(
    model: dsl.Input[dsl.Model],
    archive: dsl.Output[dsl.Artifact],
    model_name: str = "",
    model_format: str = "pt2",
    workers: int = 1,
    batch_size: int = 16,
    batch_delay_milliseconds: int = 1,
    response_timeout_seconds: int = 60,
) -> None:
    """Makes a PyTorch model into what KServe gives TorchServe: an archive and its settings.

    The archive holds the preprocessing and the code that checks requests and answers them; the settings close what
    TorchServe leaves open. The same Model gives the same bytes. See docs/torchserve.md.

    Args:
        model: A Model of train_pytorch, tune_pytorch or prune_pytorch; not a quantized one.
        archive: ``model-store/<name>.mar`` and ``config/config.properties``;
            metadata: name, model_digest, model_format.
        model_name: The model's in the URLs: letters, digits, ``.``, ``_`` and ``-``; empty takes its own.
        model_format: ``pt2`` (torch.export) or ``torchscript``.
        workers: Processes that TorchServe answers with, at least 1; Shipway's server in front of it uses one.
        batch_size: Requests that TorchServe hands over together at most, at least 1.
        batch_delay_milliseconds: How long the first of them waits for others, at least 0.
        response_timeout_seconds: A worker that has not answered by then is replaced, at least 1.

    Raises:
        InputError: When the Model has no native export, or a parameter is out of range.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.serving.torchserve.archive import create_archive
        from shipway.serving.torchserve.properties import Workers

        run = Workers(workers, batch_size, batch_delay_milliseconds, response_timeout_seconds)
        description = create_archive(model.path, archive.path, model_name, model_format, run)
        archive.metadata["name"] = model_name or description.name
        archive.metadata["model_digest"] = description.digest
        archive.metadata["model_format"] = model_format
