"""The lab, with real packets: addresses, Services, names, policies, the inside of pods; as root and as a user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.packets.labs import Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(120)]


def pod(name: str, *, namespace: str = "default", labels: str = "", rest: str = "", ports: str = "") -> str:
    listed = ports or "[{containerPort: 80, name: http}, {containerPort: 53, protocol: UDP}]"
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}{labels}}}}}
spec: {{containers: [{{name: main, image: none, ports: {listed}{rest}}}]}}
"""


def service(name: str, spec: str) -> str:
    return f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


CLUSTER = (
    pod("client")
    + pod("server")
    + service("server", "type: NodePort, selector: {app: server}, ports: [{port: 8000, targetPort: http, name: web}]")
    + service("both", "ipFamilyPolicy: PreferDualStack, selector: {app: server}, ports: [{port: 80}]")
    + service("headless", "clusterIP: None, selector: {tier: data}, ports: [{port: 5432, name: pg}]")
    + service("nobody", "selector: {app: nobody}, ports: [{port: 80}]")
    + service("alias", "type: ExternalName, externalName: server.default.svc.cluster.local")
    + """---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: data}
spec:
  serviceName: headless
  replicas: 2
  selector: {matchLabels: {tier: data}}
  template:
    metadata: {labels: {tier: data}}
    spec: {containers: [{name: main, image: none, ports: [{containerPort: 5432}]}]}
"""
)
ISOLATE = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolate}
spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}
"""


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_of(request.param) as made:
        made.up(CLUSTER)
        yield made


@pytest.fixture
def fresh() -> Iterator[Lab]:
    with lab_of("root") as made:
        yield made


@pytest.mark.parametrize("family", [4, 6])
def test_pods_reach_each_other_by_address(lab: Lab, family: int) -> None:
    address = lab.address("default/server", family)
    place = f"[{address}]" if family == 6 else address
    assert lab.exec("client", "curl", "-gs", "--max-time", "2", f"http://{place}/") == "default/server main 80 TCP\n"


@pytest.mark.parametrize("name", ["server", "server.default", "server.default.svc.cluster.local"])
def test_a_service_is_reached_by_each_form_of_its_name(lab: Lab, name: str) -> None:
    answer = lab.exec("client", "curl", "-s", "--max-time", "2", f"http://{name}:8000/")
    assert answer == "default/server main 80 TCP\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data-1.headless", ["data-1"]),
        ("headless", ["data-0", "data-1"]),
        ("alias", ["server"]),
        ("10-9-8-7.default.pod.cluster.local", ["10.9.8.7"]),
    ],
)
def test_names(lab: Lab, name: str, expected: list[str]) -> None:
    found = {line.split()[0] for line in lab.exec("client", "getent", "ahostsv4", name).splitlines()}
    cluster = {one["name"]: one["addresses"][0] for one in lab.status()["services"] if one["addresses"]}
    known = {one["name"]: one["addresses"][0] for one in lab.status()["pods"]} | cluster
    assert found == {known.get(one, one) for one in expected}


def test_a_name_that_does_not_exist_is_not_found_at_once(lab: Lab) -> None:
    started = time.monotonic()
    lab.exec("client", "getent", "hosts", "nothing.default.svc.cluster.local", code=2)
    assert time.monotonic() - started < 5, "as long as a resolver waits for a server that is silent"


def test_a_dual_stack_service_is_reached_over_both_families(lab: Lab) -> None:
    addresses = next(one for one in lab.status()["services"] if one["name"] == "both")["addresses"]
    assert len(addresses) == 2
    for address in addresses:
        assert lab.reaches("client", f"http://[{address}]/" if ":" in address else f"http://{address}/")


def test_a_pod_reaches_itself_through_its_service(lab: Lab) -> None:
    """By the longer name: the shorter one is the pod's own in its /etc/hosts, in a cluster too."""
    assert lab.reaches("server", "http://server.default:8000/")


def test_the_outside_host_reaches_the_node_port(lab: Lab) -> None:
    entry = next(one for one in lab.status()["services"] if one["name"] == "server")
    node = lab.node_address()
    assert lab.reaches("outside", f"http://{node}:{entry['ports'][0]['nodePort']}/")


def test_a_service_without_backends_refuses_at_once(lab: Lab) -> None:
    """Curl says 28 where it waited in vain."""
    lab.exec("client", "curl", "-s", "--max-time", "5", "http://nobody/", code=7)


def test_several_backends_share_the_connections(lab: Lab) -> None:
    lab.apply(service("spread", "selector: {tier: data}, ports: [{port: 5432}]"))
    loop = "for i in $(seq 30); do curl -s --max-time 2 http://spread:5432/; done"
    answers = lab.exec("client", "sh", "-c", loop).splitlines()
    assert set(answers) == {"default/data-0 main 5432 TCP", "default/data-1 main 5432 TCP"}
    assert len(answers) == 30


def test_exec_gives_the_exit_code_and_passes_standard_input(lab: Lab) -> None:
    lab.exec("client", "sh", "-c", "exit 37", code=37)
    lab.exec("client", "no-such-program", code=126)
    assert lab.run("exec", "-i", "client", "--", "cat", stdin="hello") == "hello"
    assert lab.run("exec", "client", "--", "cat", stdin="hello") == ""
    assert lab.run("exec", "-t", "client", "--", "tty").strip().startswith("/dev/pts/")


def test_a_pod_sees_neither_the_machine_nor_its_rights(lab: Lab) -> None:
    seen = lab.exec("client", "sh", "-c", "ls -A /home /root; ls /run; hostname; ls -A /proc | grep -c '^[0-9]'")
    assert "client" in seen.splitlines()
    assert int(seen.split()[-1]) < 10
    for forbidden in (
        "mount -t tmpfs none /mnt",
        "mknod /tmp/disk b 8 0",
        "echo 1 > /proc/sys/kernel/printk",
        "ip link del eth0",
        "nft list ruleset",
    ):
        assert lab.process("exec", "client", "--", "sh", "-c", forbidden).returncode != 0, forbidden


def test_what_a_pod_writes_stays_in_the_pod(lab: Lab, tmp_path: object) -> None:
    lab.exec("client", "sh", "-c", "echo 1 > /etc/gatewright-test && echo 1 > /tmp/gatewright-test")
    lab.exec("server", "test", "-e", "/etc/gatewright-test", code=1)
    for path in ("/etc/gatewright-test", "/tmp/gatewright-test"):
        assert subprocess.run(["test", "-e", path], check=False).returncode == 1


def test_a_policy_is_enforced_and_taken_back(lab: Lab) -> None:
    file = str(lab.file(ISOLATE))
    assert lab.reaches("client", "http://server:8000/")
    assert "networkpolicy.networking.k8s.io/isolate created" in lab.run("apply", "-f", file)
    assert "networkpolicy.networking.k8s.io/isolate unchanged" in lab.run("apply", "-f", file)
    assert not lab.reaches("client", "http://server:8000/")
    assert 'networkpolicy.networking.k8s.io "isolate" deleted from default namespace' in lab.run("delete", "-f", file)
    assert lab.reaches("client", "http://server:8000/")
    assert "not found" in lab.error("delete", "-f", file)


def test_a_policy_ends_the_connections_it_forbids(lab: Lab) -> None:
    program = (
        "import socket, time\n"
        "far = socket.create_connection(('%s', 53)) if 0 else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "far.settimeout(1); far.connect(('%s', 53)); silent = 0\n"
        "for turn in range(60):\n"
        "    far.send(b'x')\n"
        "    try: far.recv(100); silent = 0\n"
        "    except TimeoutError: silent += 1\n"
        "    if silent == 2: print('ended'); break\n"
        "    time.sleep(0.1)\n"
    )
    address = lab.address("default/server")
    words = [*lab.words, "lab", "exec", "client", "--", "python3", "-c", program % (address, address)]
    with subprocess.Popen(
        words, env=lab.environment | {"GATEWRIGHT_LAB": lab.name}, stdout=subprocess.PIPE, text=True
    ) as flow:
        time.sleep(1)
        file = str(lab.file(ISOLATE))
        lab.run("apply", "-f", file)
        output, _ = flow.communicate(timeout=30)
        lab.run("delete", "-f", file)
    assert output == "ended\n"


def test_an_egress_policy_that_forgets_dns_breaks_names(lab: Lab) -> None:
    policy = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: forgot-dns}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: server}}}]}]
"""
    address = lab.address("default/server")
    file = str(lab.file(policy))
    lab.run("apply", "-f", file)
    by_name, by_address = lab.reaches("client", "http://server:8000/"), lab.reaches("client", f"http://{address}/")
    lab.run("delete", "-f", file)
    assert (by_name, by_address) == (False, True)


def test_probe_agrees_and_says_so(lab: Lab) -> None:
    file = str(lab.file(ISOLATE))
    lab.run("apply", "-f", file)
    report = json.loads(lab.run("probe", "-o", "json", "--family", "both", "--port", "8081", "--port", "udp/54"))
    lab.run("delete", "-f", file)
    denied = [row for row in report["rows"] if row["destination"] == "default/server"]
    assert report["differ"] == 0
    assert {row["measured"] for row in denied} == {"dropped"}
    assert {"open", "refused", "dropped"} <= {row["measured"] for row in report["rows"]}
    assert {row["port"].split()[0] for row in report["rows"]} == {"TCP", "UDP"}


def test_probe_finds_what_the_kernel_does_otherwise(fresh: Lab) -> None:
    """Takes the policies' table away while the agent sleeps: the packets must give the lie to the prediction."""
    fresh.up(CLUSTER + ISOLATE)
    agent = fresh.process_of("agent")
    os.kill(agent, signal.SIGSTOP)
    nsenter = ["nsenter", "-t", str(agent), "-n", "nft", "delete", "table", "inet", "gatewright"]
    subprocess.run(nsenter, check=True, capture_output=True)
    report = json.loads(fresh.run("probe", "-o", "json", code=1))
    assert report["differ"] > 0
    assert report["rows"][0]["agrees"] is False


def test_a_flat_network_accepts_policies_and_enforces_nothing(fresh: Lab) -> None:
    said = fresh.up(CLUSTER + ISOLATE, "--network", "flat")
    line = "1 NetworkPolicy accepted, NOT enforced: network 'flat' has no policy support"
    assert line in said
    assert line in fresh.run("status")
    assert fresh.reaches("client", "http://server:8000/")
    shown = fresh.run("probe")
    assert "Nothing enforces policies on this network" in shown
    assert "forbidden by default/isolate (ingress), reached" in shown
    fresh.run("probe", "--strict", code=1)


def test_volumes_environment_and_a_real_program(fresh: Lab) -> None:
    manifests = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: files}
data: {index.html: "from the map", other: "no"}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  initContainers:
    - {name: prepare, image: none, command: [sh, -c, "echo prepared > /scratch/state"],
       volumeMounts: [{name: scratch, mountPath: /scratch}]}
  containers:
    - name: main
      image: none
      command: [python3, -m, http.server]
      args: ["$(PORT)"]
      workingDir: /usr/share/not-there/site
      env: [{name: PORT, value: "8080"}]
      ports: [{containerPort: 8080}]
      volumeMounts:
        - {name: site, mountPath: /usr/share/not-there/site, readOnly: true}
        - {name: scratch, mountPath: /data}
  volumes:
    - {name: site, configMap: {name: files, items: [{key: index.html, path: index.html}]}}
    - {name: scratch, emptyDir: {}}
"""
    fresh.up(manifests)
    assert fresh.exec("outside", "curl", "-s", f"http://{fresh.address('default/web')}:8080/") == "from the map"
    assert fresh.exec("web", "cat", "/data/state") == "prepared\n"
    fresh.exec("web", "touch", "/usr/share/not-there/site/new", code=1)
    assert fresh.exec("web", "ls").split() == ["index.html"]
    assert next(one for one in fresh.status()["pods"] if one["name"] == "web")["runs"] == "python3"
    assert "GET / HTTP" in fresh.run("logs", "web")


def test_a_crashing_program_is_restarted_and_named(fresh: Lab) -> None:
    manifests = pod("broken", rest=', command: [sh, -c, "echo out of luck; exit 3"]')
    error = fresh.error("up", "-f", str(fresh.file(manifests)), "--timeout", "3")
    assert "pod default/broken is not ready" in error
    assert "out of luck" in error
    entry = next(one for one in fresh.status()["pods"] if one["name"] == "broken")
    assert entry["restarts"] >= 1
    assert entry["status"] in ("CrashLoopBackOff", "Running")


def test_an_apply_that_cannot_be_changes_nothing_and_lists_every_problem(fresh: Lab) -> None:
    fresh.up(CLUSTER)
    before = _cluster(fresh)
    wrong = (
        pod("new") + pod("lost", namespace="nowhere") + service("taken", "clusterIP: 10.96.0.10, ports: [{port: 1}]")
    )
    error = fresh.error("apply", "-f", str(fresh.file(wrong)))
    assert 'namespaces "nowhere" not found' in error
    assert "provided IP is already allocated" in error
    assert _cluster(fresh) == before


def _cluster(lab: Lab) -> dict[str, object]:
    state = lab.status()
    return {part: state[part] for part in ("pods", "services", "policies")}
