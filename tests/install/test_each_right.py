"""Every verb of the chart's Roles is needed: without it something stays undone, and the user is told what.

One operator, installed with Helm, serves a namespace for each right, in which its Role lacks just that one; in each of
them the story is told that needs the right. The same stories come to their end where nothing is lacking.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import kopf
import pytest
from finetune_operator.cluster import Cluster as Client
from finetune_operator.lease import Election
from finetune_sandbox.testing import Cluster, eventually, start

from tests.install.site import IMAGES, Site, ready, values
from tests.install.stories import STORIES, Right, Story
from tests.install.support import Json, of_kind, render

pytestmark = pytest.mark.slow

WITHOUT_A_STORY: set[Right] = {("update", "finetunejobs/finalizers"), ("update", "sweepruns/finalizers")}
"""Asked for by an admission plug-in that the sandbox has not."""
UNSEEN: set[Right] = {
    *{("list", "finetunejobs"), ("list", "sweepruns"), ("patch", "finetunejobs/status"), ("patch", "sweepruns/status")}
}
"""Without these the operator can say nothing in the resource; `finetune doctor` says that it is silent."""
SILENT: set[Right] = {
    *{("watch", plural) for plural in ("finetunejobs", "sweepruns", "jobs", "pods")},
    ("create", "events"),
}
"""Without these it learns, or tells, too little; nothing is refused at the moment in which it counts."""


def granted() -> set[Right]:
    found: set[Right] = set()
    for role in of_kind(render(values(), name="ft", namespace="speech"), "Role"):
        if not role["metadata"]["name"].endswith(("cleanup", "lease")):
            found |= {
                (verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]
            }
    return found


RIGHTS = sorted(granted() - WITHOUT_A_STORY)


def test_every_right_has_a_story():
    assert set(RIGHTS) == STORIES.keys()


def without(rules: list[Json], right: Right) -> list[Json]:
    """Rules that grant everything but one right."""
    verb, resource = right
    kept = []
    for rule in rules:
        if verb in rule["verbs"] and resource in rule["resources"]:
            others = [name for name in rule["resources"] if name != resource]
            kept += [{**rule, "resources": others}] if others else []
            rule = {**rule, "resources": [resource], "verbs": [name for name in rule["verbs"] if name != verb]}
        kept += [rule] if rule["verbs"] else []
    return kept


@dataclass
class Telling:
    """A story under way."""

    story: Story
    site: Site
    turned: bool = field(default=False)
    ended: bool = field(default=False)

    def look(self) -> bool:
        """Goes on with it if it is time; returns whether it has ended."""
        if self.ended:
            return True
        story = self.story
        if story.turn and story.then and not self.turned and story.turn(self.site):
            story.then(self.site)
            self.turned = True
        self.ended = bool((self.turned or story.turn is None) and story.ended(self.site))
        return self.ended


@dataclass
class World:
    """All stories, told at the same time: with every right, and each without one."""

    complete: dict[Story, Telling]
    lacking: dict[Right, Telling]


def take(site: Site, right: Right) -> None:
    """Takes a right from the operator in one namespace."""
    group = "/apis/rbac.authorization.k8s.io/v1"
    for role in site.items(group, "roles"):
        rules = without(role["rules"], right)
        if rules != role["rules"]:
            path = f"{group}/namespaces/{site.namespace}/roles/{role['metadata']['name']}"
            site.cluster.api("PATCH", path, {"rules": rules}, content_type="application/merge-patch+json")


def reason(site: Site, kind: str) -> Json:
    return ready(site.status(kind, "x")) if site.cluster.find(site.path(kind, "x")) else {}


def complaint(site: Site) -> Json:
    """The Ready condition of the story's resource."""
    return reason(site, "FinetuneJob") or reason(site, "SweepRun")


def expected(right: Right) -> set[str]:
    """The reason by which a user learns of a right that is lacking."""
    return {"SecretMissing"} if right == ("get", "secrets") else {"Forbidden"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start(tmp_path_factory.mktemp("rights"), "--nodes=1", "--gpus=16", images=IMAGES) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> World:
    home = Site(cluster, namespace="platform")
    complete = {s: Telling(s, Site(cluster, f"complete-{n}")) for n, s in enumerate(dict.fromkeys(STORIES.values()))}
    lacking = {
        right: Telling(STORIES[right], Site(cluster, f"no-{right[0]}-{right[1].replace('/', '-')}")) for right in RIGHTS
    }
    tellings = [*complete.values(), *lacking.values()]
    served = [telling.site.namespace for telling in tellings]
    for namespace in served:
        cluster.api("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    home.install(values(scope={"namespaces": served}, replicas=0))  # paused, until the Roles are as they should be
    for right, telling in lacking.items():
        take(telling.site, right)
    key = base64.b64encode(home.use_the_tracker().encode()).decode()
    for telling in tellings:
        secret = {"metadata": {"name": "wandb"}, "data": {"api-key": key}}
        cluster.api("POST", f"/api/v1/namespaces/{telling.site.namespace}/secrets", secret)
    cluster.kubectl("-n", home.namespace, "scale", f"deployment/{home.name}", "--replicas=1")
    cluster.kubectl("-n", home.namespace, "rollout", "status", f"deployment/{home.name}", "--timeout=60s", timeout=70)
    for telling in tellings:
        telling.story.tell(telling.site)

    def all_ended() -> bool:
        late = {telling.site.namespace: complaint(telling.site) for telling in complete.values() if not telling.look()}
        assert not late, late
        return True

    def all_told() -> bool:
        heard = {right: complaint(telling.site) for right, telling in lacking.items() if not telling.look()}
        quiet = {right: found for right, found in heard.items() if found.get("reason") not in expected(right)}
        assert quiet.keys() <= UNSEEN | SILENT, quiet
        return True

    eventually(all_ended, 60, 0.5)
    eventually(all_told, 30, 0.5)
    return World(complete, lacking)


@pytest.mark.parametrize("right", RIGHTS, ids=" ".join)
@pytest.mark.provokes("Forbidden")
def test_without_it_the_story_does_not_end(world, right):
    telling = world.lacking[right]
    assert world.complete[telling.story].ended
    assert telling.turned or telling.story.turn is None or right in UNSEEN | SILENT, (
        "the story did not come to the point"
    )
    assert not telling.look()
    found = complaint(telling.site)
    if right in UNSEEN:
        assert found == {}
    elif right not in SILENT:
        assert found["reason"] in expected(right)
        assert f'cannot {right[0]} resource "{right[1]}"' in found["message"]


async def leads(client: Client, namespace: str, name: str) -> bool:
    """Whether an operator gets the lead, and can keep it."""
    election = Election(client, namespace, name, "me", lost=lambda: None)
    for _ in ("get it", "renew it"):
        task = asyncio.create_task(election.run())
        try:
            await asyncio.wait_for(election.leading.wait(), 1.5)
        except TimeoutError:
            return False
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        election.leading.clear()
    return True


@pytest.mark.parametrize("verb", ["get", "update", "create", None])
def test_the_lead_needs_every_right_to_the_lease(cluster, verb):
    name, namespace = "ft-finetune-operator", f"lease-{verb or 'complete'}"
    chosen = of_kind(render(values(), name="ft", namespace=namespace), "ServiceAccount", "Role", "RoleBinding")
    lease = [document for document in chosen if document["metadata"]["name"] in (name, f"{name}-lease")]
    for role in of_kind(lease, "Role"):
        role["rules"] = without(role["rules"], (verb, "leases")) if verb else role["rules"]
    cluster.api("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    for document in lease:
        cluster.apply(document, namespace=namespace)
    token = cluster.kubectl("-n", namespace, "create", "token", name).stdout.strip()
    ca = (cluster.data / "pki" / "ca.crt").read_bytes()

    async def attempt() -> bool:
        client = Client(lambda: kopf.ConnectionInfo(server=cluster.access.url, token=token, ca_data=ca))
        try:
            return await leads(client, namespace, name)
        finally:
            await client.close()

    assert asyncio.run(attempt()) is (verb is None)
