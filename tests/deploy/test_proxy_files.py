"""The files of deploy/proxies held against the project, and against each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.free_paths import BROWSER
from tests.deploy.project import DEPLOY, documents, is_answered
from tests.web import sites
from waitroom.serve.assemble import assemble
from waitroom.web.forward import HEADERS

FOLDER = DEPLOY / "proxies"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())

#: What every file calls the instances and the origin.
INSTANCES = {8001, 8002}
ORIGIN = 9000

#: Addresses that go to an instance ungated, and some that look like them.
OWN = (
    "/v1/rooms/shop",
    *(f"/v1/rooms/shop/{call}" for call in ("enter", "events", "leave", "seen", "status")),
    "/wait/shop",
    "/wait/_assets/wait-0a1B.js",
)
OTHERS = ("/v1/orders", "/v1/", "/v1/rooms/42", "/v1/rooms/shopping", "/wait-list", "/wait/", "/wait/shop/x", "/wait/x")

Document = dict[str, Any]


@pytest.fixture
def envoy() -> Document:
    """Envoy's file."""
    (document,) = documents(FOLDER / "envoy" / "envoy.yaml")
    return document


@pytest.fixture
def traefik() -> tuple[Document, Document]:
    """Traefik's static and dynamic files."""
    (static,), (dynamic,) = (documents(FOLDER / "traefik" / name) for name in ("traefik.yaml", "waitroom.yaml"))
    return static, dynamic["http"]


def test_every_file_is_in_the_readme() -> None:
    """Each file has its row, and each row its file."""
    readme = (FOLDER / "README.md").read_text()
    rows = "\n".join(line for line in readme.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`((?:caddy|haproxy|traefik|envoy)/[\w./-]+)`", rows))
    assert named == {str(path.relative_to(FOLDER)) for path in FILES if path.name != "README.md"}


def test_the_readmes_links_lead_somewhere() -> None:
    """Every relative link is a file of the project, and every proxy has its page there."""
    links = re.findall(r"\]\(([^)#]+)", (FOLDER / "README.md").read_text())
    assert {f"{path.name}.md" for path in FOLDER.iterdir() if path.is_dir()} <= {Path(link).name for link in links}
    assert [link for link in links if not (FOLDER / link).exists()] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_names_the_page_of_its_proxy(path: Path) -> None:
    """Where a file's head says how it works, the page is the one of its proxy."""
    named = set(re.findall(r"docs/how-to/(\w+)\.md", path.read_text()))
    assert path.suffix == ".md" or named <= {path.relative_to(FOLDER).parts[0]}


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix != ".md"], ids=lambda path: path.name)
def test_addresses_and_ports_are_the_same_everywhere(path: Any) -> None:
    """Loopback only, a network for examples, and no port that the pages do not name."""
    text = path.read_text()
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1(?::|, port_value: )(\d+)", text)}
    assert ports <= INSTANCES | {ORIGIN, 8099}
    assert set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) <= {"127.0.0.1", "0.0.0.0", "192.0.2.0"}


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix != ".md"], ids=lambda path: path.name)
def test_addresses_of_ours_are_answered(path: Any) -> None:
    """Every path that a file asks an instance for is one that it has."""
    text = re.sub(r"(?m)^\s*(#|--).*", "", path.read_text())
    text = text.replace("{args[0]}", "shop").replace('" .. room', 'shop"')
    for asked in re.findall(r"(/forward-auth/\w+|/livez|/readyz)\b", text):
        assert is_answered(asked), asked
    for taken in re.findall(r"(/v1/rooms/shop\(.*?\)\??\|/wait/\(.*?\))", text):
        for address in OWN:
            assert re.fullmatch(taken, address), address
            assert is_answered(address), address
        assert [address for address in OTHERS if re.fullmatch(taken, address)] == []


def test_every_proxy_takes_the_same_addresses() -> None:
    """In one spelling, once in each file."""
    texts = [path.read_text() for path in FILES if path.suffix != ".md"]
    taken = [found for text in texts for found in re.findall(r"/v1/rooms/shop\(.*?\)\??\|/wait/\(.*?\)", text)]
    assert len(taken) == 4
    assert len(set(taken)) == 1


#: Which headers a free path's request keeps, as each proxy's own file lists them.
KEPT = {
    "caddy/Caddyfile": r"import waitroom_keep (\S+)",
    "haproxy/waitroom.lua": r'\["([a-z-]+)"\] = true',
    "envoy/envoy.yaml": r'\["([a-z-]+)"\] = true',
    "traefik/plugins-local/src/waitroom/free/free.go": r'"([A-Z][a-z]+(?:-[A-Z][a-z]+)*)",',
}


@pytest.mark.parametrize("name", KEPT)
def test_a_free_path_keeps_the_same_headers_behind_each_proxy(name: str) -> None:
    """Those that the tests on the real proxies look for; Host and what a proxy says by itself aside."""
    kept = {found.lower() for found in re.findall(KEPT[name], (FOLDER / name).read_text())}
    assert {header for header in kept if not re.match("host|x-forwarded-", header)} == BROWSER.keys()


# Envoy.


def manager(envoy: Document) -> Document:
    """The settings of the HTTP connection manager."""
    listener, door = envoy["static_resources"]["listeners"]
    assert door["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8099}
    ((only,),) = [chain["filters"] for chain in listener["filter_chains"]]
    found: Document = only["typed_config"]
    return found


def gate_of(envoy: Document) -> Document:
    """The settings of ext_authz."""
    free, gate, router = manager(envoy)["http_filters"]
    assert (gate["name"], router["name"]) == ("envoy.filters.http.ext_authz", "envoy.filters.http.router")
    assert free["typed_config"]["source_codes"].keys() == {"waitroom_free"}, "runs where a route names it, nowhere else"
    found: Document = gate["typed_config"]
    return found


def names(listed: Document) -> list[str]:
    """The header names of a list of matchers, each exact and in any case."""
    assert all(pattern.keys() == {"exact", "ignore_case"} and pattern["ignore_case"] for pattern in listed["patterns"])
    return [pattern["exact"] for pattern in listed["patterns"]]


def test_envoy_fails_closed_and_normalises(envoy: Document) -> None:
    """Without an answer nobody goes on; paths are normalised, so that each begins with a slash; nothing is believed."""
    assert gate_of(envoy)["failure_mode_allow"] is False
    assert gate_of(envoy)["filter_enabled_metadata"] == {
        "filter": "envoy.filters.http.lua",
        "path": [{"key": "free"}],
        "value": {"bool_match": True},
        "invert": True,
    }
    assert gate_of(envoy)["status_on_error"] == {"code": "ServiceUnavailable"}
    settings = manager(envoy)
    assert (settings["normalize_path"], settings["use_remote_address"]) == (True, True)
    assert settings["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"


def test_envoy_asks_the_gate_with_what_it_reads(envoy: Document) -> None:
    """The listed headers are the endpoint's, the visitor's path is appended to the room's, the cookie comes back."""
    service = gate_of(envoy)["http_service"]
    assert names(gate_of(envoy)["allowed_headers"]) == list(HEADERS)
    assert is_answered(service["path_prefix"] + "/cart/x")
    assert not service["path_prefix"].endswith("/")
    assert service["server_uri"]["cluster"] == "waitroom-gate"
    answer = service["authorization_response"]
    assert names(answer.pop("allowed_client_headers_on_success")) == ["set-cookie"]
    assert answer == {}, "with allowed_client_headers some headers of a no would be lost, and the origin needs none"


def test_envoy_gates_every_way_to_the_origin(envoy: Document) -> None:
    """Only what goes to the instances goes ungated."""
    (host,) = manager(envoy)["route_config"]["virtual_hosts"]
    assert host["domains"] == ["*"]
    assert "typed_per_filter_config" not in host
    ways = {}
    for route in host["routes"]:
        per_route = route.get("typed_per_filter_config", {})
        free = per_route.get("envoy.filters.http.ext_authz", {}).get("disabled", False)
        where = route["match"].get("prefix") or route["match"]["safe_regex"]["regex"]
        ways[where] = (route["route"]["cluster"], free)
    assert ways == {
        "/v1/rooms/shop/events": ("waitroom", True),
        "/v1/rooms/shop(/[a-z]+)?|/wait/(shop|_assets/[A-Za-z0-9._-]+)": ("waitroom", True),
        "/": ("origin", False),
    }
    assert host["routes"][-1]["request_headers_to_remove"] == ["x-waitroom-pass"]


def test_envoys_clusters_are_the_instances_and_the_origin(envoy: Document) -> None:
    """Each cluster that is named exists, with the ports that all files share."""
    found = {
        cluster["name"]: set(_ports(cluster["load_assignment"])) for cluster in envoy["static_resources"]["clusters"]
    }
    assert found == {"waitroom": INSTANCES, "origin": {ORIGIN}, "waitroom-gate": {8099}}
    assert all(
        cluster["load_assignment"]["cluster_name"] == cluster["name"]
        for cluster in envoy["static_resources"]["clusters"]
    )


def _ports(node: Any) -> Iterator[int]:
    if isinstance(node, dict):
        yield from ([node["port_value"]] if "port_value" in node else [])
        for inner in node.values():
            yield from _ports(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _ports(inner)


# Traefik.


def test_traefik_asks_the_gate_with_what_it_reads(traefik: tuple[Document, Document]) -> None:
    """The listed headers are the endpoint's; what clients claim is overwritten; the way to the page is kept."""
    static, http = traefik
    gate = http["middlewares"]["shop-gate"]["forwardAuth"]
    assert [name.lower() for name in gate["authRequestHeaders"]] == list(HEADERS)
    assert (gate["trustForwardHeader"], gate["preserveLocationHeader"]) == (False, True)
    assert not {"authResponseHeaders", "forwardBody"} & gate.keys()
    entry = static["entryPoints"]["waitroom-gate"]
    assert gate["address"] == f"http://{entry['address']}/forward-auth/shop"
    assert entry["forwardedHeaders"]["trustedIPs"] == ["127.0.0.1/32"]
    assert static["entryPoints"]["web"].keys() == {"address"}


def test_traefik_hands_on_the_cookies_that_there_are(traefik: tuple[Document, Document]) -> None:
    """Under http and under https, for the room that the file names."""
    gate = traefik[1]["middlewares"]["shop-gate"]["forwardAuth"]
    named = set()
    for url in ("", "https://shop.example.com"):
        desk = assemble(sites.settings_for("unix:///nowhere", public_url=url)).desk
        named.add(desk.set_cookie("shop", "pass", "x", seconds=1)[1].decode().partition("=")[0])
    assert set(gate["addAuthCookiesToResponse"]) == named


def test_traefik_gates_every_way_to_the_origin(traefik: tuple[Document, Document]) -> None:
    """Only what goes to the instances goes ungated, and takes precedence; the gate's door is on this machine only."""
    static, http = traefik
    for router in http["routers"].values():
        assert set(router["entryPoints"]) <= static["entryPoints"].keys()
        assert set(router.get("middlewares", [])) <= http["middlewares"].keys()
        assert router["service"] in http["services"]
    (gated,) = (router for router in http["routers"].values() if not router["service"].startswith("waitroom"))
    assert gated["middlewares"] == ["claims", "shop-gate", "shop-without-pass"]
    assert gated["rule"] == "Host(`shop.example.com`)"
    free = http["routers"]["shop-waitroom"]
    assert free["rule"].startswith("Host(`shop.example.com`) && PathRegexp(`^(/v1/rooms/shop(")
    assert free["priority"] > gated["priority"]
    door = http["routers"]["waitroom-gate"]
    assert (door["entryPoints"], door["rule"]) == (["waitroom-gate"], "PathPrefix(`/forward-auth/`)")
    assert static["entryPoints"]["waitroom-gate"]["address"].startswith("127.0.0.1:")
    removed = http["middlewares"][gated["middlewares"][-1]]["headers"]["customRequestHeaders"]
    assert removed == {"X-Waitroom-Pass": ""}


def test_traefiks_services_are_the_instances_and_the_origin(traefik: tuple[Document, Document]) -> None:
    """With the ports that all files share, and time-outs towards the instances."""
    _, http = traefik
    found = {
        name: {int(server["url"].rpartition(":")[2]) for server in service["loadBalancer"]["servers"]}
        for name, service in http["services"].items()
    }
    assert found == {"waitroom": INSTANCES, "waitroom-gate": INSTANCES, "shop-origin": {ORIGIN}}
    for name in ("waitroom", "waitroom-gate"):
        balancer = http["services"][name]["loadBalancer"]
        assert is_answered(balancer["healthCheck"]["path"])
        times = http["serversTransports"][balancer["serversTransport"]]["forwardingTimeouts"]
        assert times.keys() == {"dialTimeout", "responseHeaderTimeout"}


# HAProxy.


def test_haproxys_script_asks_the_gate_with_what_it_reads() -> None:
    """The listed headers are the endpoint's."""
    text = (FOLDER / "haproxy" / "waitroom.lua").read_text()
    listed = re.search(r"ASKED_WITH = \{(.*?)\}", text, re.DOTALL)
    assert listed is not None
    assert re.findall(r'"([^"]+)"', listed[1]) == list(HEADERS)
