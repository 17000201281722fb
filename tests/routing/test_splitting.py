"""Which arm a request goes to."""

from __future__ import annotations

import collections
import json
import math

from routing_support import Client, eventually, nobody, route_of

from shipway.serving.routing import router
from shipway.serving.routing.route import Arm, Route

ASKED = 2000


def share_of_canary(client, count=ASKED, **headers):
    return collections.Counter(client.arm(**headers) for _ in range(count))["canary"]


def within_chance(found, percent, count=ASKED):
    """Whether a share is what chance makes of a percentage, but for one time in 100,000."""
    expected, deviation = count * percent / 100, math.sqrt(count * percent / 100 * (1 - percent / 100))
    return abs(found - expected) < 4.5 * deviation


def test_requests_are_split_by_weight_and_as_new_weights_say(state, plain_arm):
    route = route_of(plain_arm("stable").url, plain_arm("canary").url, 20)
    client = Client(router.start(route)["url"])
    assert within_chance(share_of_canary(client), 20)
    assert router.set_weights("r", {"stable": 35, "canary": 65})["route"]["arms"][1]["weight_percent"] == 65
    assert within_chance(share_of_canary(client), 65)
    router.set_weights("r", {"stable": 0, "canary": 100})
    assert share_of_canary(client, 200) == 200
    assert router.status("r")["route"]["arms"][1]["weight_percent"] == 100


def test_the_header_tells_the_arm_that_answered(state, plain_arm):
    client = Client(router.start(route_of(plain_arm("stable").url, plain_arm("canary").url, 50))["url"])
    for _ in range(50):
        response = client.post()
        assert json.loads(response.content)["arm"] == response.headers["x-shipway-arm"]


def test_a_key_in_a_header_stays_on_its_arm(state, plain_arm):
    route = route_of(plain_arm("stable").url, plain_arm("canary").url, 30, sticky="header:x-user-id")
    record = router.start(route)
    client = Client(record["url"])
    users = [f"user-{number}" for number in range(ASKED)]
    first = {user: client.arm(x_user_id=user) for user in users}
    assert within_chance(sum(arm == "canary" for arm in first.values()), 30)
    assert all(client.arm(x_user_id=user) == arm for user, arm in first.items())
    assert all(Client(record["url"]).arm(x_user_id=user) == first[user] for user in users[:100])
    router.set_weights("r", {"stable": 40, "canary": 60})
    second = {user: client.arm(x_user_id=user) for user in users}
    assert within_chance(sum(arm == "canary" for arm in second.values()), 60)
    assert all(second[user] == "canary" for user in users if first[user] == "canary")
    assert within_chance(share_of_canary(client), 60), "who has no key is spread"


def test_a_cookie_given_out_leads_to_the_arm_that_gave_it(state, plain_arm):
    route = route_of(plain_arm("stable").url, plain_arm("canary").url, 50, sticky="cookie:visitor")
    client = Client(router.start(route)["url"])
    seen, cookies = collections.Counter(), set()
    for _ in range(300):
        response = client.post()
        arm, given = response.headers["x-shipway-arm"], response.headers["set-cookie"]
        cookie, *attributes = given.split("; ")
        assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax"]
        again = client.post(cookie=f"other=1; {cookie}; more=2")
        assert again.headers["set-cookie"] is None
        assert again.headers["x-shipway-arm"] == arm
        seen[arm] += 1
        cookies.add(cookie)
    assert len(cookies) == 300
    assert within_chance(seen["canary"], 50, 300)


def test_a_header_forces_an_arm(state, plain_arm):
    route = route_of(plain_arm("stable").url, plain_arm("canary").url, 0, sticky="header:x-user-id")
    client = Client(router.start(route)["url"])
    assert {client.arm(x_shipway_arm="canary", x_user_id=str(number)) for number in range(50)} == {"canary"}
    assert {client.arm(x_shipway_arm="stable") for _ in range(20)} == {"stable"}
    assert {client.arm() for _ in range(20)} == {"stable"}


def test_a_forced_arm_that_there_is_not_is_refused(state, plain_arm):
    stable = plain_arm("stable")
    client = Client(router.start(route_of(stable.url, plain_arm("canary").url))["url"])
    response = client.post(x_shipway_arm="canari")
    assert response.status == 400
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.content)["error"].endswith("must name an arm of the route: stable, canary")
    assert not stable.got


def test_a_forced_arm_that_is_down_is_not_replaced(state, plain_arm):
    stable = plain_arm("stable")
    client = Client(router.start(route_of(stable.url, nobody()))["url"])
    assert client.post(x_shipway_arm="canary").status == 503
    assert not stable.got


def test_a_header_of_ones_own_forces_and_none_forces_when_there_is_none(state, plain_arm):
    route = route_of(plain_arm("stable").url, plain_arm("canary").url, 0, force_header="x-arm")
    client = Client(router.start(route)["url"])
    assert client.arm(x_arm="canary") == "canary"
    assert client.arm(x_shipway_arm="canary") == "stable"
    router.stop("r")
    client = Client(router.start(route_of(plain_arm("s").url, plain_arm("c").url, 0, force_header=""))["url"])
    assert client.arm(x_shipway_arm="canary") == "stable"


def test_copies_go_to_the_shadow_and_its_answers_to_nobody(state, plain_arm):
    shadow = plain_arm("shadow", status=500)
    route = route_of(plain_arm("stable").url, plain_arm("canary").url, 50, shadow=shadow.url)
    client = Client(router.start(route)["url"])
    for number in range(100):
        response = client.post(b"y" * number, x_request="kept")
        assert response.status == 200
        assert json.loads(response.content) == {"arm": response.headers["x-shipway-arm"], "bytes": number}
        assert response.headers["x-shipway-arm"] in ("stable", "canary")
    assert eventually(lambda: len(shadow.got) == 100)
    assert sorted(size for _, size in shadow.got) == list(range(100))
    assert {headers["x-request"] for headers, _ in shadow.got} == {"kept"}
    assert client.post(x_shipway_arm="shadow").status == 500, "the shadow can be asked itself"


def test_four_arms_share_what_there_is(state, plain_arm):
    weights = {"a": 10, "b": 20, "c": 30, "d": 40}
    arms = [Arm(name, plain_arm(name).url, weight) for name, weight in weights.items()]
    client = Client(router.start(Route("r", arms))["url"])
    seen = collections.Counter(client.arm() for _ in range(ASKED))
    assert all(within_chance(seen[name], weight) for name, weight in weights.items())
