"""The Kubernetes manifests: everything that one of them names is there, here or in the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from rig.edits import exchanged
from tests.deploy import project
from tests.deploy.image import said
from waitroom import __version__
from waitroom.serve import workers
from waitroom.settings import sources
from waitroom.settings.server import ServerSettings
from waitroom.store import url

FOLDER: Final = project.DEPLOY / "kubernetes"
KUSTOMIZATION: Final = project.documents(FOLDER / "kustomization.yaml")[0]

#: Not applied by themselves: to be copied, or to be added.
ASIDE: Final = {
    "secret.example.yaml",
    "ingress-nginx.example.yaml",
    "gateway.example.yaml",
    "autoscaler.yaml",
    "prometheus-rule.yaml",
}

#: The files of the gate, as another kustomization brings them.
NGINX: Final = project.documents(project.DEPLOY / "nginx" / "kustomization.yaml")[0]

KEYS: Final = {
    "WAITROOM_ADMIN_KEY": "0123456789abcdefghij-ABCDEFGHIJ0",
    "WAITROOM_SIGNING_KEYS": "k1:" + "0123456789ab" * 4,
}


def everything() -> list[dict[str, Any]]:
    """Every object of every manifest, the examples too."""
    files = sorted(FOLDER.glob("*.yaml"))
    return [thing for file in files if file.name != "kustomization.yaml" for thing in project.documents(file)]


def the(kind: str, name: str, *, namespace: str | None = None) -> dict[str, Any]:
    """The one object of that kind and name."""
    (found,) = (
        thing
        for thing in everything()
        if (thing["kind"], thing["metadata"]["name"]) == (kind, name)
        and namespace in (None, thing["metadata"].get("namespace"))
    )
    return found


def pod(kind: str, name: str) -> dict[str, Any]:
    """The pod that an object makes."""
    found: dict[str, Any] = the(kind, name)["spec"]["template"]["spec"]
    return found


def container(kind: str, name: str) -> dict[str, Any]:
    """The one container of that pod."""
    (found,) = pod(kind, name)["containers"]
    assert isinstance(found, dict)
    return found


def environment() -> dict[str, str]:
    """The variables that the instances are given as plain values."""
    return {entry["name"]: entry["value"] for entry in container("Deployment", "waitroom")["env"] if "value" in entry}


WORKLOADS: Final = [("Deployment", "waitroom"), ("StatefulSet", "redis"), ("Deployment", "gate")]


def test_kustomize_lists_every_manifest() -> None:
    """What lies in the folder is applied, or known to be an example; the version is this one."""
    files = {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION["resources"]) == files - ASIDE | {"../nginx"}
    (image,) = KUSTOMIZATION["images"]
    assert image["name"] == container("Deployment", "waitroom")["image"]
    assert image["newTag"] == __version__
    assert KUSTOMIZATION["namespace"] == the("Namespace", "waitroom")["metadata"]["name"]


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_selectors_find_their_pods(kind: str, name: str) -> None:
    """Workload, service and policy of that name select the pod's labels."""
    labels = the(kind, name)["spec"]["template"]["metadata"]["labels"]
    assert the(kind, name)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert the("Service", name)["spec"]["selector"].items() <= labels.items()
    assert the("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    for spread in pod(kind, name).get("topologySpreadConstraints", []):
        assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_ports_have_one_name_everywhere(kind: str, name: str) -> None:
    """Probes, service and network policy name a port of the container."""
    ports = {port["name"]: port["containerPort"] for port in container(kind, name)["ports"]}
    (served,) = the("Service", name)["spec"]["ports"]
    assert served["targetPort"] in ports
    assert served["port"] == (80 if name == "gate" else ports[served["targetPort"]])
    probes = [container(kind, name)[probe] for probe in container(kind, name) if probe.endswith("Probe")]
    assert probes
    assert {(probe.get("httpGet") or probe["tcpSocket"])["port"] for probe in probes} <= ports.keys()
    for rule in the("NetworkPolicy", name)["spec"]["ingress"]:
        assert {port["port"] for port in rule["ports"]} <= ports.keys()


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_pods_may_do_little(kind: str, name: str) -> None:
    """What the namespace's `restricted` level wants, and a root file system that nobody writes to."""
    own, inner = pod(kind, name)["securityContext"], container(kind, name)["securityContext"]
    assert own["runAsNonRoot"] is True
    assert own["runAsUser"] > 0
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert pod(kind, name)["automountServiceAccountToken"] is False
    assert "memory" in container(kind, name)["resources"]["limits"]


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_every_mount_has_its_volume(kind: str, name: str) -> None:
    """Volumes and mounts fit; config maps and keys of the Secret exist."""
    volumes = {volume["name"]: volume for volume in pod(kind, name)["volumes"]}
    claimed = {claim["metadata"]["name"] for claim in the(kind, name)["spec"].get("volumeClaimTemplates", [])}
    assert {mount["name"] for mount in container(kind, name)["volumeMounts"]} == volumes.keys() | claimed
    generators = [*KUSTOMIZATION["configMapGenerator"], *NGINX["configMapGenerator"]]
    generated = {generator["name"]: generator["files"] for generator in generators}
    for volume in volumes.values():
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            assert source.get("configMap", {"name": "gate-settings"})["name"] in generated
        if "secret" in volume:
            secret = the("Secret", volume["secret"]["secretName"])
            assert {item["key"] for item in volume["secret"]["items"]} <= secret["stringData"].keys()


def test_the_instances_run_as_the_image_means_it() -> None:
    """User, command, folders and port are those of the Dockerfile."""
    found = container("Deployment", "waitroom")
    user, group = map(int, said("USER").rest.split(":"))
    security = pod("Deployment", "waitroom")["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (user, group, group)
    assert project.faults_of_command(found["args"]) == []
    assert [port["containerPort"] for port in found["ports"]] == [ServerSettings().port] == [int(said("EXPOSE").rest)]
    mounts = {mount["mountPath"]: mount["name"] for mount in found["volumeMounts"]}
    assert said("VOLUME").rest in mounts
    assert "tmp" in mounts.values()
    config = Path(found["args"][found["args"].index("--config") + 1])
    assert str(config.parent) in mounts
    assert (FOLDER / config.name).is_file()
    assert str(Path(environment()["WAITROOM_REDIS_PASSWORD_FILE"]).parent) in mounts


def test_every_variable_is_a_setting_and_every_key_is_in_the_secret() -> None:
    """No variable that nobody reads; keys come from the Secret only."""
    entries = container("Deployment", "waitroom")["env"]
    assert {entry["name"] for entry in entries} <= project.variables()
    secret = the("Secret", "waitroom")["stringData"]
    from_secret = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]["key"] for entry in entries if "valueFrom" in entry
    }
    assert from_secret.keys() == KEYS.keys()
    assert set(from_secret.values()) <= secret.keys()
    # An example's secrets are none: no instance starts with them.
    assert all("REPLACE" in value for value in secret.values())


def test_the_settings_are_sound_and_lead_to_the_redis_beside_them() -> None:
    """The file with the pod's environment is accepted for production."""
    given = {name: value for name, value in environment().items() if name != "WAITROOM_REDIS_PASSWORD_FILE"}
    loaded = sources.load(FOLDER / "waitroom.toml", environment={**given, **KEYS})
    assert loaded.production
    assert loaded.secure
    (port,) = the("Service", "redis")["spec"]["ports"]
    assert url.parse(loaded.redis_url).hosts == (("redis", port["port"]),)


def test_a_services_variables_stay_away() -> None:
    """They are no settings, and an instance would name them at each start."""
    assert sources.strangers({"WAITROOM_PORT": "tcp://10.96.0.10:8000"})
    assert the("Service", "waitroom")
    assert pod("Deployment", "waitroom")["enableServiceLinks"] is False


def test_probes_ask_what_is_answered() -> None:
    """The addresses exist; an outage of Redis kills nobody, and closes no gate before its passes have ended."""
    found = container("Deployment", "waitroom")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert project.is_answered(found[probe]["httpGet"]["path"])
    assert found["livenessProbe"]["httpGet"]["path"] == found["startupProbe"]["httpGet"]["path"] == "/livez"
    ready = found["readinessProbe"]
    assert ready["httpGet"]["path"] == "/readyz"
    rooms = sources.load(FOLDER / "waitroom.toml", environment={}).rooms
    longest = max(room.session_seconds for room in rooms.values())
    assert ready["periodSeconds"] * ready["failureThreshold"] >= longest


def test_stopping_leaves_time_for_draining() -> None:
    """The pod is given longer than it drains and answers what is in flight, and proxies time to hear of it."""
    drain = float(environment()["WAITROOM_DRAIN_SECONDS"])
    assert drain >= 10
    assert pod("Deployment", "waitroom")["terminationGracePeriodSeconds"] >= drain + workers.GRACE_SECONDS + 5


def test_disruptions_and_growth_are_for_the_deployment() -> None:
    """The budget and the autoscaler name it, and never ask for fewer than it has."""
    deployment = the("Deployment", "waitroom")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert the("PodDisruptionBudget", "waitroom")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    target = the("HorizontalPodAutoscaler", "waitroom")["spec"]
    assert target["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "waitroom"}
    gate, redis = (the(kind, name)["spec"]["template"]["metadata"]["labels"] for kind, name in WORKLOADS[:0:-1])
    for name, pods, budget in (("gate", gate, {"maxUnavailable": 1}), ("redis", redis, {"minAvailable": 1})):
        found = the("PodDisruptionBudget", name)["spec"]
        assert found["selector"]["matchLabels"].items() <= pods.items()
        assert budget.items() <= found.items()
    assert target["minReplicas"] >= deployment["spec"]["replicas"] >= 3
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_the_network_is_closed_but_for_what_is_named() -> None:
    """Nobody reaches anybody by default; only instances reach Redis, and they reach only it and the name server."""
    default = the("NetworkPolicy", "nobody-else")["spec"]
    assert default == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [the(kind, name)["spec"]["template"]["metadata"]["labels"] for kind, name in WORKLOADS]
    waitroom, redis, gate = labels
    (entry,) = the("NetworkPolicy", "redis")["spec"]["ingress"]
    assert entry["from"] == [{"podSelector": {"matchLabels": waitroom}}]
    assert "egress" not in the("NetworkPolicy", "redis")["spec"]
    to_redis, to_names = the("NetworkPolicy", "waitroom")["spec"]["egress"]
    assert to_redis["to"] == [{"podSelector": {"matchLabels": redis}}]
    assert {port["port"] for port in to_redis["ports"]} == {6379}
    assert {port["port"] for port in to_names["ports"]} == {53}
    assert {"podSelector": {"matchLabels": gate}} in the("NetworkPolicy", "waitroom")["spec"]["ingress"][0]["from"]
    to_instances, _to_site, names_of_gate = the("NetworkPolicy", "gate")["spec"]["egress"]
    assert to_instances["to"] == [{"podSelector": {"matchLabels": waitroom}}]
    assert names_of_gate == to_names
    # NodeLocal DNSCache answers at an address of the node, which is no pod's.
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in to_names["to"]


# The gate.


def test_the_gate_has_the_shipped_files() -> None:
    """Every file of deploy/nginx that a server reads, and nginx.conf, where its command looks for them."""
    (generator,) = NGINX["configMapGenerator"]
    folder = project.DEPLOY / "nginx"
    assert set(generator["files"]) == {path.name for path in folder.glob("waitroom-*.conf")} | {"name-servers.sh"}
    found = container("Deployment", "gate")
    (mount,) = (mount["mountPath"] for mount in found["volumeMounts"] if mount["name"] == "files")
    for file in ("name-servers.sh", "nginx.conf"):
        assert f" {mount}/{file}" in found["command"][-1]
    assert (
        found["image"]
        in project.documents(project.DEPLOY / "compose.yaml")[0]["services"]["nginx"]["build"]["dockerfile_inline"]
    )


def test_the_gates_nginx_is_composes_but_for_names() -> None:
    """What is tried there for real holds here: the instances and the origin have other names, nothing else differs."""
    (port,) = the("Service", "waitroom-pods")["spec"]["ports"]
    assert the("Service", "waitroom-pods")["spec"]["clusterIP"] == "None"
    instances = f"waitroom-pods.{KUSTOMIZATION['namespace']}.svc.cluster.local:{port['port']}"
    there = exchanged(
        (project.DEPLOY / "compose" / "nginx.conf").read_text(),
        {
            "server waitroom:8000 ": f"server {instances} ",
            "server origin:9000 ": "server shop.shop.svc.cluster.local:80 ",
            "engine's name server, as": "cluster's name servers, as",
            "asks it each second": "asks them each second",
        },
    )
    here = (FOLDER / "nginx.conf").read_text()
    assert here[here.index("worker_processes") :] == there[there.index("worker_processes") :]


def test_a_gateway_leads_to_the_gate_and_ends_no_stream() -> None:
    """The example's only way is the gate's Service, without a time-out."""
    (rule,) = the("HTTPRoute", "shop")["spec"]["rules"]
    (port,) = the("Service", "gate")["spec"]["ports"]
    assert rule["backendRefs"] == [{"name": "gate", "port": port["port"]}]
    assert rule["timeouts"] == {"request": "0s"}
    assert the("HTTPRoute", "shop")["metadata"]["namespace"] == KUSTOMIZATION["namespace"]


def test_the_rule_of_the_operator_is_the_alerts_file(tmp_path: Path) -> None:
    """Prometheus' own file, word for word: what make-rule.sh makes of it is what is shipped."""
    (alerts,) = project.documents(project.DEPLOY / "prometheus" / "alerts.yml")
    rule = the("PrometheusRule", "waitroom")
    assert rule["spec"] == alerts
    for name in ("kubernetes", "prometheus"):
        shutil.copytree(project.DEPLOY / name, tmp_path / name)
    subprocess.run(["/bin/sh", str(tmp_path / "kubernetes" / "make-rule.sh")], check=True)
    assert (tmp_path / "kubernetes" / "prometheus-rule.yaml").read_text() == (
        FOLDER / "prometheus-rule.yaml"
    ).read_text()


def test_redis_is_set_up_as_in_compose() -> None:
    """The same image, the same options: what differs is where the files are put."""
    compose = project.documents(project.DEPLOY / "compose.yaml")[0]["services"]["redis"]
    found = container("StatefulSet", "redis")
    assert found["image"] == compose["image"]
    here, there = (dict(zip(words[::2], words[1::2], strict=True)) for words in (found["args"], compose["command"]))
    assert {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)} == {"--aclfile"}


def test_metrics_are_where_prometheus_is_told_to_look() -> None:
    """The pod's annotations."""
    notes = the("Deployment", "waitroom")["spec"]["template"]["metadata"]["annotations"]
    assert project.is_answered(notes["prometheus.io/path"])
    assert int(notes["prometheus.io/port"]) == ServerSettings().port


# The example for ingress-nginx.

_PREFIX: Final = "nginx.ingress.kubernetes.io/"


def test_the_gated_ingress_asks_the_service() -> None:
    """The address of the check is the Service's, and an instance answers there; the page takes the return address."""
    notes = the("Ingress", "shop", namespace="shop")["metadata"]["annotations"]
    asked = urlsplit(notes[f"{_PREFIX}auth-url"])
    (port,) = the("Service", "waitroom")["spec"]["ports"]
    assert asked.hostname == f"waitroom.{KUSTOMIZATION['namespace']}.svc.cluster.local"
    assert asked.port == port["port"]
    assert re.fullmatch(r"/gate/[a-z0-9_-]+", asked.path)
    assert project.is_answered(asked.path)
    page = urlsplit(notes[f"{_PREFIX}auth-signin"])
    assert project.is_answered(page.path)
    assert parse_qs(page.query) == {notes[f"{_PREFIX}auth-signin-redirect-param"]: ["$escaped_request_uri"]}
    assert page.path.rpartition("/")[2] == asked.path.rpartition("/")[2]
    assert not [
        name for name in notes if re.search("auth-(keepalive|cache-key|response-headers|snippet)|satisfy", name)
    ]


def test_only_what_visitors_call_is_let_through_ungated() -> None:
    """The instances' other addresses are not to be had from outside."""
    ingress = the("Ingress", "waitroom", namespace="waitroom")
    (rule,) = ingress["spec"]["rules"]
    assert {path["path"] for path in rule["http"]["paths"]} == {"/v1", "/wait"}
    (port,) = the("Service", "waitroom")["spec"]["ports"]
    for path in rule["http"]["paths"]:
        assert path["backend"]["service"] == {"name": "waitroom", "port": {"name": port["name"]}}
    assert not [name for name in ingress["metadata"]["annotations"] if "auth" in name]
    gated = the("Ingress", "shop", namespace="shop")
    assert gated["spec"]["rules"][0]["host"] == rule["host"]
