"""What becomes of requests when arms die, hang or change; nothing that an arm can still answer may be lost."""

from __future__ import annotations

import json
import time

import grpc
import pytest
from routing_support import Client, Load, eventually, metrics, nobody, route_of

from shipway.serving.openinference.grpc.messages import REQUESTS, RESPONSES, SERVICE
from shipway.serving.routing import router
from shipway.serving.routing.route import Arm, Route

MIB = 1 << 20


@pytest.fixture
def answers(servers):
    """What each arm answers when it is asked itself."""
    stable, canary = servers
    urls = {"stable": stable.url, "canary": canary.url}
    return {name: Client(url).post(stable.question).content for name, url in urls.items()}


@pytest.fixture
def split(state, servers):
    stable, canary = servers
    return router.start(route_of(stable.url, canary.url, 50))


@pytest.mark.parametrize(("killed", "survivor"), [("canary", "stable"), ("stable", "canary")])
def test_an_arm_killed_under_load_costs_no_request_and_comes_back(split, servers, answers, killed, survivor):
    assert answers["stable"] != answers["canary"]
    server = servers[killed == "canary"]
    with Load(split["url"], server.question, answers) as load:
        time.sleep(0.7)
        server.kill()
        time.sleep(1)
        after_kill = dict(load.answers)
        time.sleep(1)
    assert load.failures == []
    assert load.answers[survivor, 200] > after_kill[survivor, 200]
    assert load.answers[killed, 200] == after_kill[killed, 200] > 0
    server.start()
    client = Client(split["url"])
    assert eventually(lambda: client.post(server.question).headers["x-shipway-arm"] == killed, 15)


def test_an_arm_that_ends_in_order_costs_no_request(split, servers, answers):
    stable, canary = servers
    with Load(split["url"], stable.question, answers) as load:
        time.sleep(0.5)
        canary.end()
        time.sleep(0.5)
    assert load.failures == []
    canary.start()


def test_new_weights_under_load_cost_no_request_and_no_connection(split, servers, answers):
    with Load(split["url"], servers[0].question, answers) as load:
        for step in range(20):
            router.set_weights("r", {"stable": 100 - 5 * step, "canary": 5 * step})
            time.sleep(0.05)
    assert load.failures == []
    assert load.answers["stable", 200] > 0
    assert load.answers["canary", 200] > 0


def test_grpc_is_split_forced_and_failed_over_too(state, servers):
    stable, canary = servers
    arms = [Arm("stable", stable.url, 50, stable.grpc_url), Arm("canary", canary.url, 50, canary.grpc_url)]
    address = router.start(Route("r", arms))["url"].removeprefix("http://")
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        digests = {arm: asked_by_grpc(channel, arm)[1] for arm in ("stable", "canary")}
        assert len(set(digests.values())) == 2
        seen = [asked_by_grpc(channel) for _ in range(60)]
        assert {arm for arm, _ in seen} == {"stable", "canary"}
        assert all(digests[arm] == digest for arm, digest in seen)
        canary.kill()
        assert {asked_by_grpc(channel)[0] for _ in range(60)} == {"stable"}
        canary.start()
        with pytest.raises(grpc.RpcError, match="must name an arm of the route: stable, canary"):
            asked_by_grpc(channel, "nobody")


def asked_by_grpc(channel, forced=""):
    """Returns the arm that answered, and the digest of its model."""
    ask = channel.unary_unary(
        f"/{SERVICE}/ModelMetadata",
        REQUESTS["ModelMetadata"].SerializeToString,
        RESPONSES["ModelMetadata"].FromString,
    )
    metadata = [("x-shipway-arm", forced)] if forced else []
    response, call = ask.with_call(REQUESTS["ModelMetadata"](name="m"), timeout=10, metadata=metadata)
    return dict(call.initial_metadata())["x-shipway-arm"], response.versions[0]


def test_a_request_that_an_arm_breaks_off_is_asked_again_elsewhere_whatever_its_size(state, plain_arm):
    dying, other = plain_arm("stable", dies=True), plain_arm("canary")
    record = router.start(route_of(dying.url, other.url, 1))
    client = Client(record["url"])
    for size in (0, 1, 100, 5 * MIB, 64 * MIB):
        before = len(dying.got)
        while len(dying.got) == before:
            response = client.post(b"z" * size)
            assert json.loads(response.content) == {"arm": "canary", "bytes": size}
        assert dying.got[-1][1] == size, "the first arm had all of it"
    assert metrics(record)["envoy_cluster_upstream_rq_retry"] == {'envoy_cluster_name="stable"': len(dying.got)}


def test_a_body_that_is_too_big_to_keep_passes_but_once(state, plain_arm):
    size = 65 * MIB
    whole = Client(router.start(route_of(plain_arm("stable").url, plain_arm("canary").url))["url"])
    assert json.loads(whole.post(b"z" * size).content)["bytes"] == size
    router.stop("r")
    dying = plain_arm("stable", dies=True)
    client = Client(router.start(route_of(dying.url, plain_arm("canary").url, 1))["url"])
    codes = {client.post(b"z" * size).status for _ in range(3)}
    assert dying.got
    assert 503 in codes


def test_an_error_that_an_arm_answers_is_its_answer(state, plain_arm):
    failing = plain_arm("stable", status=503)
    record = router.start(route_of(failing.url, plain_arm("canary").url, 1))
    client = Client(record["url"])
    answers = [client.post() for _ in range(30)]
    assert all(response.status == 503 for response in answers if response.headers["x-shipway-arm"] == "stable")
    assert len(failing.got) == sum(response.status == 503 for response in answers) > 0
    assert "envoy_cluster_upstream_rq_retry" not in metrics(record)


def test_an_arm_of_no_weight_is_never_failed_over_to(state, plain_arm):
    candidate, shadow = plain_arm("canary"), plain_arm("shadow")
    client = Client(router.start(route_of(nobody(), candidate.url, 0, shadow=shadow.url))["url"])
    assert [client.post().status for _ in range(10)] == [503] * 10
    assert not candidate.got
    router.set_weights("r", {"stable": 99, "canary": 1, "shadow": 0})
    assert {client.arm() for _ in range(20)} == {"canary"}


def test_an_arm_that_does_not_answer_in_time_is_a_504(state, plain_arm):
    slow = plain_arm("stable", wait_seconds=1.5)
    client = Client(router.start(route_of(slow.url, plain_arm("canary").url, 0, timeout_seconds=0.3))["url"])
    started = time.monotonic()
    assert client.post().status == 504
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("shadow", ["slow", "dead"])
def test_a_shadow_that_is_slow_or_dead_does_no_harm(state, plain_arm, shadow):
    url = plain_arm("shadow", wait_seconds=1).url if shadow == "slow" else nobody()
    arms = plain_arm("stable"), plain_arm("canary")
    record = router.start(route_of(arms[0].url, arms[1].url, 50, shadow=url))
    client = Client(record["url"])
    started = time.monotonic()
    for _ in range(300):
        assert client.post().status == 200
    assert time.monotonic() - started < 3, "one connection waited for the shadow"
    assert len(arms[0].got) + len(arms[1].got) == 300
    if shadow == "slow":
        assert eventually(lambda: sum(copies_sent_and_dropped(record)) == 300)
        assert copies_sent_and_dropped(record)[1] > 200


def copies_sent_and_dropped(record):
    found, copies = metrics(record), 'envoy_cluster_name="mirror_copies"'
    return tuple(found[f"envoy_cluster_upstream_rq_{kind}"][copies] for kind in ("total", "pending_overflow"))


def test_metrics_by_arm_are_exact(state, plain_arm):
    shadow = plain_arm("shadow")
    route = route_of(plain_arm("stable").url, plain_arm("canary", status=422).url, 40, shadow=shadow.url)
    record = router.start(route)
    client, counts = Client(record["url"]), {}
    for _ in range(200):
        response = client.post()
        label = f'arm="{response.headers["x-shipway-arm"]}",code="{response.status}"'
        counts[label] = counts.get(label, 0) + 1
    assert set(counts) == {'arm="stable",code="200"', 'arm="canary",code="422"'}
    assert client.post(x_shipway_arm="nobody").status == 400
    counts['arm="",code="400"'] = 1
    assert eventually(lambda: metrics(record)["envoy_shipway_requests"] == counts)

    def durations():
        return metrics(record).get("envoy_shipway_request_milliseconds_count")

    by_arm = {'arm=""': 1, 'arm="stable"': counts['arm="stable",code="200"']}
    by_arm['arm="canary"'] = counts['arm="canary",code="422"']
    assert eventually(lambda: durations() == by_arm)
    copies = 'envoy_cluster_name="mirror_copies"'
    assert eventually(lambda: metrics(record)["envoy_cluster_upstream_rq_total"] == {copies: 200})
    assert len(shadow.got) == 200
