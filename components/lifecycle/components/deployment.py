"""From a release to an endpoint that has proved itself."""

from kfp import dsl

from shipway.components.lifecycle.components.image import IMAGE

__all__ = ["deploy_model", "promote_model", "smoke_test"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy_model(
    release: dsl.Input[dsl.Artifact],
    endpoint: dsl.Output[dsl.Artifact],
    endpoint_name: str = "",
    target: str = "local",
    port: int = 0,
) -> None:
    """Serve a release behind an endpoint's URL, in place of what it served before.

    The new server answers its golden requests before the old one ends; no request is lost, and when it fails the old
    one keeps serving. A release that is served already is left alone. Do not cache this step.

    Args:
        release: The Release, unchanged since it was made; one in a store is fetched to this machine's cache.
        endpoint: ``endpoint.json`` (URLs, release, previous release, how to undo) and ``inferenceservice.yaml``.
        endpoint_name: a-z, 0-9 and hyphens; also the model's name in the URLs; empty takes the release's name.
        target: ``local``: a server on this machine's loopback interface, which outlives the run.
        port: 0 keeps the endpoint's own, or chooses a free one for a new endpoint.

    Raises:
        ConflictError: When somebody else holds the port.
        DeploymentError: When the release does not come up; the message has the server's last log lines.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import deployment

    with step():
        record = deployment.deploy_model(release.path, endpoint.path, endpoint_name, target, port)
        endpoint.metadata.update({"name": record["name"], "url": record["url"]})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def smoke_test(
    endpoint: dsl.Input[dsl.Artifact],
    release: dsl.Input[dsl.Artifact],
    result: dsl.Output[dsl.Metrics],
    rollback_on_failure: bool = True,
) -> None:
    """Send a release's golden requests to its endpoint over v1 and v2; other answers are a DeploymentError.

    Args:
        endpoint: From deploy_model.
        release: The Release that it must serve.
        result: ``golden_requests`` (rows), ``largest_difference`` of a score, ``milliseconds_per_request`` (median).
        rollback_on_failure: Whether a failure puts the previous release back, or stops the endpoint if there is none.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import deployment

    with step():
        for name, value in deployment.smoke_test(endpoint.path, release.path, rollback_on_failure).items():
            result.log_metric(name, value)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def promote_model(
    release: dsl.Input[dsl.Artifact],
    endpoint: dsl.Input[dsl.Artifact],
    expected_champion: str,
    release_repository: str = "",
) -> None:
    """Make a release, if its endpoint serves it, the champion that later candidates are compared with.

    Args:
        release: The Release.
        endpoint: Its Endpoint, after the smoke test.
        expected_champion: What resolve_champion said; nothing is moved when another one reigns by now.
        release_repository: As for create_release.

    Raises:
        ConflictError: When another champion reigns than expected.
    """
    from shipway.components.common.process import step
    from shipway.components.lifecycle import deployment

    with step():
        deployment.promote_model(release.path, endpoint.path, release_repository, expected_champion)
