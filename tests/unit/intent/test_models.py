"""Reading models: what each form means, what several files make together, and how bad ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import InvalidInput
from gatewright.intent.bind import bind
from gatewright.intent.include import load_model
from gatewright.intent.model import ANY, Port, Traffic
from gatewright.intent.parties import Bound
from gatewright.objects.read import parse

HEAD = "apiVersion: gatewright/v1alpha1\nkind: Traffic\n"
REFUSED = yaml.safe_load((Path(__file__).parent / "refused.yaml").read_text())


def read(files: dict[str, str], first: str = "t.yaml") -> Traffic:
    """The model of some files, whose first two lines are left out."""

    def text(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return HEAD + files[path]

    return load_model(first, text)


def look_up(model: str, manifests: str = "") -> Bound:
    snapshot = Snapshot.of(parse(manifests, "m.yaml").objects) if manifests else None
    return bind(read({"t.yaml": model}), snapshot)


def flows(bound: Bound) -> list[tuple[str, str]]:
    """Each flow, and its ports on the destination's pods."""
    return [(str(need), ", ".join(map(str, need.ports))) for need in bound.flows if need.flow]


def refusal(model: str, manifests: str = "") -> str:
    with pytest.raises(InvalidInput) as caught:
        look_up(model, manifests)
    return str(caught.value)


def refusals(files: dict[str, str]) -> list[str]:
    """What is said of a model of several files, a line each."""
    with pytest.raises(InvalidInput) as caught:
        bind(read(files))
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_model_is_refused(name: str) -> None:
    assert refusal(REFUSED[name]["model"]) == REFUSED[name]["said"]


FLOW_FORMS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "plain": ("- web -> api", [("web -> api", "TCP 81, UDP 53, TCP 9000, TCP http")]),
    "ports as YAML makes them": ("- web -> api : 81", [("web -> api : 81", "TCP 81")]),
    "ports with commas": ("- web -> api: 81,UDP/53", [("web -> api : 81, UDP/53", "TCP 81, UDP 53")]),
    "ports in a text": ("- 'web -> api : 81, udp/53'", [("web -> api : 81, udp/53", "TCP 81, UDP 53")]),
    "ports in a list": ("- web -> api: [81, UDP/53]", [("web -> api : 81, UDP/53", "TCP 81, UDP 53")]),
    "a name that stands for a number": ("- web -> api: metrics", [("web -> api : metrics", "TCP 9000")]),
    "a name that pods know": ("- web -> api: http", [("web -> api : http", "TCP http")]),
    "everything": ("- web -> api: any", [("web -> api : any", "all traffic")]),
    "a mapping": ("- {from: web, to: api, ports: 81, why: x}", [("web -> api : 81", "TCP 81")]),
    "several at once": (
        "- web, api -> api, web: 81",
        [(f"{one} -> {two} : 81", "TCP 81") for one in ("web", "api") for two in ("api", "web")],
    ),
}


@pytest.mark.parametrize("name", FLOW_FORMS)
def test_forms_of_flows(name: str) -> None:
    line, expected = FLOW_FORMS[name]
    model = f"""\
components:
  web: {{labels: {{a: web}}, ports: [81]}}
  api: {{labels: {{a: api}}, ports: [81, UDP/53, {{name: metrics, port: 9000}}, http]}}
flows:
{line}
"""
    assert flows(look_up(model)) == expected


PORT_FORMS: dict[Any, Port] = {
    80: Port(Protocol.TCP, 80, 80),
    "8000-8010": Port(Protocol.TCP, 8000, 8010),
    "UDP/53": Port(Protocol.UDP, 53, 53),
    "sctp/7-9": Port(Protocol.SCTP, 7, 9),
    "http": Port(Protocol.TCP, name="http"),
    "udp/dns": Port(Protocol.UDP, name="dns"),
    "any": ANY,
    "{name: http, port: 80}": Port(Protocol.TCP, 80, 80, "http"),
    "{name: dns, protocol: UDP}": Port(Protocol.UDP, name="dns"),
    "{port: 8000-8010}": Port(Protocol.TCP, 8000, 8010),
}


@pytest.mark.parametrize("written", PORT_FORMS)
def test_forms_of_ports(written: Any) -> None:
    component = read({"t.yaml": f"components: {{web: {{labels: {{a: b}}, ports: [{written}]}}}}"}).components[0]
    assert component.ports == (PORT_FORMS[written],)


FAULTS = {
    "t.yaml": """\
extends: [a.yaml]
componets: {}
components:
  web: {labels: {app: web}, ports: [80]}
  canary: {labels: {app: web, track: canary}}
  api: {labels: {app: api}, ports: [81], replicas: 2}
outside: {users: anywhere}
flows:
- wbe -> db
- web -> db: 99
- users -> web
- web -> api
- web => db
- users -> users
never:
- users -> web
""",
    "a.yaml": """\
extends: [b.yaml]
components:
  db: {labels: {app: db}, ports: [3306]}
""",
    "b.yaml": """\
extends: a.yaml
components:
  web: {labels: {a: b}}
  cache: {labels: {app: db}}
""",
}
TOLD = """\
b.yaml:3: extends: the files extend each other: a.yaml -> b.yaml -> a.yaml; take one line out
b.yaml:5: web: the name is taken at t.yaml:6; choose another
b.yaml:6: components db (a.yaml:5) and cache overlap: both select a pod with app=db; tell them apart
t.yaml:4: componets: unknown field, did you mean "components"?
t.yaml:7: components web (t.yaml:6) and canary overlap: both select a pod with app=web,track=canary; tell them apart
t.yaml:8: components.api.replicas: unknown field (known: labels, selector, workload, service, namespace, \
namespaceSelector, ports, dns)
t.yaml:11: wbe -> db: there is no component or outside party 'wbe', did you mean "web"?
t.yaml:12: web -> db : 99: db (a.yaml:5) opens TCP 3306, not TCP 99; write its port there too
t.yaml:15: flows[4]: 'web => db' is no flow; write FROM -> TO, FROM -> TO: PORTS, or a mapping with from and to
t.yaml:16: users -> users: both sides are outside; a flow begins or ends at a component
t.yaml:18: never users -> web: users -> web (t.yaml:13) allows it; take one of the lines out
"""


def test_every_fault_of_every_kind_is_told_in_one_run() -> None:
    """With its line; api, of which a field is wrong, is known by name, and nothing more is said of it."""
    assert refusals(FAULTS) == TOLD.splitlines()


def test_of_an_entry_with_a_fault_nothing_else_is_told() -> None:
    """Its ports would be missed by the flow, and its pods be those of the other one."""
    model = """\
components:
  web: {labels: {a: web}, ports: [80]}
  api: {labels: {a: web}, ports: [eighty one]}
flows: [web -> api]
"""
    (told,) = refusal(model).splitlines()
    assert told.startswith("t.yaml:5: components.api.ports[0]: 'eighty one' is not a port: ")


def test_names_are_not_unknown_while_a_file_cannot_be_read() -> None:
    files = {
        "t.yaml": "extends: [gone.yaml, broken.yaml]\ncomponents: {a: {labels: {a: b}, ports: [1]}}\nflows: [a -> b]"
    }
    told = refusals({**files, "broken.yaml": "components: [}"})
    assert [line.split(": ")[0] for line in told] == ["broken.yaml:3", "t.yaml:3"]
    assert "t.yaml:5: a -> b: there is no component" in refusals({**files, "gone.yaml": "", "broken.yaml": ""})[0]


def test_every_problem_of_every_file_is_told() -> None:
    told = refusals(
        {"t.yaml": "extends: [a.yaml, b.yaml]\nflow: []", "a.yaml": "components: {web: {}}", "b.yaml": "names: x"}
    )
    assert [line.split(": ")[0] for line in told] == ["a.yaml:3", "b.yaml:3", "t.yaml:4"]


def test_files_of_several_teams_are_one_model() -> None:
    files = {
        "shop/t.yaml": "extends: ../data/t.yaml\nnamespace: shop\ncomponents: {a: {labels: {a: b}}}\nflows: [a -> db]",
        "data/t.yaml": "extends: [common.yaml]\nnamespace: data\ncomponents: {db: {labels: {a: b}, ports: [1]}}",
        "data/common.yaml": "outside: {ops: 10.0.0.0/8}\nflows: [ops -> db]",
    }
    model = read(files, "shop/t.yaml")
    assert [(one.name, one.pods.namespace) for one in model.components] == [("a", "shop"), ("db", "data")]
    assert [f"{one} {one.entry.origin}" for one in model.flows] == [
        "a -> db shop/t.yaml:6",
        "ops -> db data/common.yaml:4",
    ]


def test_a_file_that_two_others_extend_is_read_once() -> None:
    both = "extends: [common.yaml]"
    files = {
        "t.yaml": "extends: [a.yaml, b.yaml]",
        "a.yaml": both,
        "b.yaml": both,
        "common.yaml": "outside: {u: anywhere}",
    }
    assert [one.name for one in read(files).outside] == ["u"]


def test_files_that_extend_each_other_are_refused_file_by_file() -> None:
    said = "b.yaml:3: extends: the files extend each other: a.yaml -> b.yaml -> a.yaml; take one line out"
    files = {"t.yaml": "extends: a.yaml", "a.yaml": "\nextends: [b.yaml]", "b.yaml": "extends: a.yaml"}
    assert refusals(files) == [said]


def test_a_name_that_two_files_give_is_refused() -> None:
    part = "components: {web: {labels: {a: b}}}"
    told = refusals({"t.yaml": f"extends: a.yaml\n{part}", "a.yaml": part})
    assert told == ["a.yaml:3: web: the name is taken at t.yaml:4; choose another"]


def test_a_file_that_is_not_there_is_told_at_the_line_that_names_it() -> None:
    told = refusals({"t.yaml": "extends: [gone.yaml]"})
    assert told == ["t.yaml:3: gone.yaml cannot be read: no such file or directory"]


def test_comments_belong_to_the_entry_below_them() -> None:
    model = read(
        {
            "t.yaml": """\
# Nobody's.

components:
  # The web tier.
  # It has two lines.
  web: {labels: {a: web}, ports: [80]}
outside: {users: anywhere}
flows:
# People.
- users -> web
- {from: web, to: web, why: gossip}
"""
        }
    )
    assert model.components[0].entry.comment == ("The web tier.", "It has two lines.")
    assert [flow.entry.comment for flow in model.flows] == [("People.",), ("gossip",)]


def callers(model: str) -> list[str]:
    return sorted(need.source.name for need in look_up(model).flows if need.flow is None)


def test_dns_is_for_those_who_call_by_name() -> None:
    model = """\
components:
  web: {labels: {a: web}, ports: [80]}
  api: {labels: {a: api}, ports: [80]}
  db: {labels: {a: db}, ports: [80]}
  told: {labels: {a: told}, dns: true}
  quiet: {labels: {a: quiet}, dns: false}
outside: {internet: anywhere, office: 10.0.0.0/8}
flows: [web -> api, quiet -> api, "api -> internet: 443", "db -> office: 80"]
"""
    assert callers(model) == ["api", "told", "web"]
    assert callers(f"{model}dns: none") == []
    nodes = look_up(f"{model}dns: {{addresses: 169.254.20.10/32, ports: [UDP/53]}}").dns
    assert nodes is not None
    assert [(block.cidr, nodes.opens) for block in nodes.blocks] == [
        ("169.254.20.10/32", (Port(Protocol.UDP, 53, 53),))
    ]


MANIFESTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, pod-template-hash: x}}
    spec:
      containers:
      - {name: c, image: i, ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: www, namespace: shop}
spec: {selector: {app: web}, ports: [{name: main, port: 80, targetPort: http}, {name: m, port: 81, targetPort: 9000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: canary, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: other}}, spec: {containers: [{name: c, image: i}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: shop, labels: {app: caller}}
spec: {containers: [{name: c, image: i}]}
"""


def in_shop(web: str, flow: str) -> str:
    return (
        f"namespace: shop\ncomponents: {{web: {web}, caller: {{labels: {{app: caller}}}}}}\nflows: ['caller -> {flow}']"
    )


FOUND: dict[str, tuple[str, str, str]] = {
    "a workload's labels and ports": ("{workload: deploy/web}", "web", "TCP 8080, TCP 9000"),
    "a Service's target ports": ("{service: www}", "web", "TCP http, TCP 9000"),
    "a Service's port by number": ("{service: www}", "web: 80", "TCP http"),
    "a Service's port by name": ("{service: svc/www}", "web: m", "TCP 9000"),
    "a Service's declared ports": ("{service: www, ports: [81]}", "web", "TCP 9000"),
    "a port name of the pods": ("{labels: {app: web}}", "web: http", "TCP http"),
    "pods that declare nothing open what is said": ("{labels: {app: other}, ports: [7]}", "web", "TCP 7"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_manifests_say(name: str) -> None:
    web, flow, expected = FOUND[name]
    bound = look_up(in_shop(web, flow), MANIFESTS)
    assert flows(bound)[0][1] == expected
    assert bound.components[0].pods is not None
    wanted = "other" if "other" in web else "web"
    assert bound.components[0].pods.labels.match_labels == {"app": wanted}


NOT_FOUND: dict[str, tuple[str, str, str]] = {
    "no such workload": (
        "{workload: deploy/wob}",
        "web",
        't.yaml:4: web: Deployment shop/wob is not among the objects, did you mean "web"?',
    ),
    "no pods": (
        "{labels: {app: nobody}}",
        "web",
        "t.yaml:4: component web: selects no pod among the objects given; mend its labels or namespace",
    ),
    "a port that the Service does not have": (
        "{service: www}",
        "web: 8080",
        "t.yaml:5: caller -> web : 8080: its Service has no port TCP 8080; it has TCP 80 (main), TCP 81 (m)",
    ),
    "a port that the pods do not declare": (
        "{labels: {app: web}, ports: [8081]}",
        "web",
        "t.yaml:4: component web: port TCP 8081 is not among the ports that its pods declare: TCP 8080,9000",
    ),
    "a flow to a port that the pods do not declare": (
        "{labels: {app: web}}",
        "web: 81",
        "t.yaml:5: caller -> web : 81: web (t.yaml:4) opens TCP 8080,9000, not TCP 81; write its port there too",
    ),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_manifests_do_not_say_is_refused(name: str) -> None:
    web, flow, said = NOT_FOUND[name]
    assert refusal(in_shop(web, flow), MANIFESTS) == said


def test_what_manifests_do_not_say_is_told_beside_what_is_wrong_with_the_model() -> None:
    model = """\
namespace: shop
components:
  web: {workload: deploy/wob}
  db: {labels: {app: caller}, port: 1}
flows: [db -> wab]
"""
    assert [line.split(": ")[:2] for line in refusal(model, MANIFESTS).splitlines()] == [
        ["t.yaml:5", "web"],
        ["t.yaml:6", "components.db.port"],
        ["t.yaml:7", "db -> wab"],
    ]


def test_components_that_select_one_pod_are_refused() -> None:
    model = "namespace: shop\ncomponents:\n  web: {labels: {app: web}}\n  www: {service: www}"
    said = "t.yaml:6: components web (t.yaml:5) and www overlap: both select shop/web[Deployment]; tell them apart"
    assert refusal(model, MANIFESTS) == said


def test_a_workload_whose_labels_select_another_one_is_refused() -> None:
    manifests = MANIFESTS.replace("app: other", "app: web, track: canary")
    said = (
        "t.yaml:4: component web: the labels of Deployment web also select Deployment canary;"
        " give labels that tell them apart"
    )
    assert refusal(in_shop("{workload: deploy/web}", "web"), manifests) == said


def test_live_pods_and_replica_sets_of_a_workload_are_the_workload() -> None:
    owned = "ownerReferences: [{apiVersion: apps/v1, kind: %s, name: %s, uid: u, controller: true}]"
    live = f"""\
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: web-x, namespace: shop, {owned % ("Deployment", "web")}}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: c, image: i}}]}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web-x-1, namespace: shop, labels: {{app: web}}, {owned % ("ReplicaSet", "web-x")}}}
spec: {{containers: [{{name: c, image: i, ports: [{{containerPort: 8080}}]}}]}}
"""
    assert flows(look_up(in_shop("{workload: deploy/web}", "web: 8080"), MANIFESTS + live))[0][1] == "TCP 8080"
