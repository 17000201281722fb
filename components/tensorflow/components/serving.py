"""Models in the form that TensorFlow Serving takes."""

from kfp import dsl

from shipway.components.tensorflow.components.image import IMAGE

__all__ = ["create_tfserving_model"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def create_tfserving_model(
    model: dsl.Input[dsl.Model],
    tfserving_model: dsl.Output[dsl.Artifact],
    model_name: str = "",
) -> None:
    """Lays a TensorFlow model out as TensorFlow Serving reads it, with warm-up requests and configuration.

    The layout is loaded and answers its golden requests before it appears; the same Model gives the same bytes. See
    docs/tf-serving.md.

    Args:
        model: A Model of train_tensorflow, tune_tensorflow or prune_tensorflow; not a quantized one.
        tfserving_model: ``<name>/1/saved_model.pb`` with ``variables/`` and ``assets.extra/``; ``models.config``,
            ``monitoring.config``, ``batching_parameters.txt``. KServe's ``storageUri`` is its ``<name>``;
            metadata: name, model_digest.
        model_name: The model's in the URLs: letters, digits, ``.``, ``_`` and ``-``; empty takes its own.

    Raises:
        InputError: When the Model has no SavedModel, or the name is none for TensorFlow Serving.
        DeploymentError: When the SavedModel answers otherwise than ``model.onnx``.
    """
    from shipway.components.common.process import step

    with step():
        from shipway.serving.tfserving.layout import create_layout

        description = create_layout(model.path, tfserving_model.path, model_name)
        tfserving_model.metadata["name"] = model_name or description.name
        tfserving_model.metadata["model_digest"] = description.digest
