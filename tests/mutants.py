"""Breaks the engine on purpose, one fault at a time, and says which suites notice: `python -m tests.mutants [NAME...]`.

A test that cannot fail proves nothing. Each mutant is a fault that someone could write: a copy of the tree gets it,
then the case tables and the comparison with the reference run on the copy. Exits 1 if a fault gets past both, 2 if a
mutant no longer applies to the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUITES = {
    "cases": ["tests/semantics"],
    "reference": ["tests/properties/test_engine_equals_reference.py", "-k", "test_engine_equals_reference"],
}
OPTIONS = ["-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk"]
SECONDS = 300


@dataclass(frozen=True)
class Mutant:
    """One fault: in `file` (below src/gatewright), `old`, which stands there once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str


COMPILE, DRAFTS, SELECTION = "engine/compile.py", "engine/drafts.py", "engine/selection.py"
MUTANTS = (
    Mutant(
        "selectors of one peer are alternatives",
        "engine/selection.py",
        "members = self._standing_in(namespaces)\n            answers[pods] = members &",
        "members = self._standing_in(namespaces)\n            answers[pods] = members |",
    ),
    Mutant(
        "a podSelector alone reaches all namespaces",
        "engine/selection.py",
        "members = self._members.get(namespace, NO_PODS)\n",
        "members = self.selectable\n",
    ),
    Mutant(
        "only the first policy counts",
        "engine/compile.py",
        "for place in self.partition.policies(cell)]",
        "for place in self.partition.policies(cell)[:1]]",
    ),
    Mutant("no peers is nobody", DRAFTS, "return Peers(everyone=True)", "return Peers()"),
    Mutant(
        "no ports is no traffic",
        "engine/drafts.py",
        "return ALL_TRAFFIC, ()\n    numbers, names = NO_TRAFFIC, []\n    for port in",
        "return NO_TRAFFIC, ()\n    numbers, names = NO_TRAFFIC, []\n    for port in",
    ),
    Mutant(
        "SCTP is taken for TCP",
        "engine/drafts.py",
        '_PROTOCOLS[port.protocol or "TCP"]',
        '_PROTOCOLS[(port.protocol or "TCP").replace("SCTP", "TCP")]',
    ),
    Mutant("the default protocol is UDP", DRAFTS, 'port.protocol or "TCP"', 'port.protocol or "UDP"'),
    Mutant(
        "a protocol without port is all traffic",
        DRAFTS,
        "numbers |= PortSet.of(protocol, *EVERY_PORT)",
        "numbers |= ALL_TRAFFIC",
    ),
    Mutant(
        "endPort is left out of its range",
        DRAFTS,
        "(port.port, port.end_port or port.port)",
        "(port.port, max(port.port, (port.end_port or port.port) - 1))",
    ),
    Mutant("endPort is ignored", DRAFTS, "(port.port, port.end_port or port.port)", "(port.port, port.port)"),
    Mutant(
        "a name means the same on every pod",
        "engine/drafts.py",
        "else draft.peers.pods & carriers:",
        "else draft.peers.pods:",
    ),
    Mutant(
        "a name holds towards an ipBlock",
        "engine/drafts.py",
        "Rule(Peers(pods=pods), ports,",
        "Rule(Peers(pods=pods, addresses=draft.peers.addresses), ports,",
    ),
    Mutant(
        "host network pods are subjects and peers",
        "engine/selection.py",
        "            if one.host_network:\n                hosts.append(one.index)\n                continue\n",
        "            if one.host_network:\n                hosts.append(one.index)\n",
    ),
    Mutant(
        "except is ignored",
        "engine/addresses.py",
        "ranges = subtract((whole,), cut)",
        "ranges = subtract((whole,), ())",
    ),
    Mutant(
        "an IPv4 block of everything covers IPv6",
        "engine/addresses.py",
        "return cls(v4=ranges) if family == 4 else cls(v6=ranges)\n\n    @classmethod\n    def of_address",
        "return cls(v4=ranges, v6=EVERY_V6 if ranges == EVERY_V4 else ()) if family == 4 else cls(v6=ranges)"
        "\n\n    @classmethod\n    def of_address",
    ),
    Mutant(
        "the last address of a block is left out",
        "engine/addresses.py",
        "(first, first | hosts)",
        "(first, first | max(hosts - 1, 0))",
    ),
    Mutant(
        "NotIn and DoesNotExist need the key",
        "engine/selectors.py",
        'return self._all - found if operator in ("NotIn", "DoesNotExist") else found',
        'return self._with_key(key) - found if operator in ("NotIn", "DoesNotExist") else found',
    ),
    Mutant(
        "only the last requirement of a selector counts",
        "engine/selectors.py",
        "answer &= self._requirement(requirement)",
        "answer = self._requirement(requirement)",
    ),
    Mutant(
        "egress is always in force when policyTypes is absent",
        "objects/policy.py",
        'return ("Ingress", "Egress") if self.spec.egress else ("Ingress",)',
        'return ("Ingress", "Egress")',
    ),
    Mutant(
        "an egress rule leaves egress open when policyTypes is absent",
        "objects/policy.py",
        'return ("Ingress", "Egress") if self.spec.egress else ("Ingress",)',
        'return ("Ingress",)',
    ),
    Mutant(
        "finished pods stay in",
        "engine/roster.py",
        "return None if item.status.phase in FINISHED else _of_pod(item, index, nodes)",
        "return _of_pod(item, index, nodes)",
    ),
    Mutant(
        "init containers that end have port names", "engine/roster.py", ' if container.restart_policy == "Always"]', "]"
    ),
    Mutant(
        "sidecars have no port names",
        "engine/roster.py",
        "return [*spec.containers, *sidecars]",
        "return [*spec.containers]",
    ),
    Mutant(
        "namespaces lack their name",
        "engine/snapshot.py",
        "{**(declared.labels if declared else {}), NAMESPACE_NAME_LABEL: name}",
        "{**(declared.labels if declared else {})}",
    ),
    Mutant(
        "one side's allow is enough",
        "engine/verdict.py",
        "if Outcome.DENIED in (left, right):",
        "if left is right is Outcome.DENIED:",
    ),
    Mutant(
        "a pod's own node is blocked",
        "engine/verdict.py",
        "if direction is Direction.INGRESS and _is_own_node(",
        "if False and _is_own_node(",
    ),
    Mutant(
        "a pod reaches its own node against its egress policy",
        "engine/verdict.py",
        "if direction is Direction.INGRESS and _is_own_node(",
        "if _is_own_node(",
    ),
    Mutant(
        "a pod cannot reach itself",
        "engine/verdict.py",
        "if source is destination and isinstance(source, Endpoint) and not source.many:",
        "if False:",
    ),
    Mutant(
        "an unknown address is in every block that meets the range",
        "engine/verdict.py",
        "return True if shared == possible.ranges(family) else None",
        "return True",
    ),
    Mutant(
        "the pod range is not asked",
        "engine/snapshot.py",
        "return (self.pod_range or ALL_ADDRESSES) - nodes",
        "return ALL_ADDRESSES - nodes",
    ),
    Mutant(
        "a pod's address is not the pod",
        "engine/verdict.py",
        "compiled.by_address.get(party, party)",
        "party",
    ),
    Mutant(
        "tiers: a higher priority number comes first",
        "engine/drafts.py",
        "place = (tier, policy.spec.priority,",
        "place = (tier, -policy.spec.priority,",
    ),
    Mutant(
        "tiers: the name comes before the priority",
        "engine/drafts.py",
        "(tier, policy.spec.priority, policy.kind, policy.name)",
        "(tier, 0, policy.name, policy.kind)",
    ),
    Mutant("tiers: Pass is Accept", DRAFTS, '"Pass": Action.PASS', '"Pass": Action.ACCEPT'),
    Mutant("tiers: Pass is Deny", DRAFTS, '"Pass": Action.PASS', '"Pass": Action.DENY'),
    Mutant(
        "tiers: v1alpha1 Allow is not understood",
        DRAFTS,
        '"Allow": Action.ACCEPT, ',
        "",
    ),
    Mutant(
        "tiers: Baseline comes before NetworkPolicy",
        "engine/compile.py",
        "chosen = [self._drafts[place] for place in self.partition.policies(cell)]",
        "chosen = [self._drafts[place] for place in sorted(self.partition.policies(cell), key=lambda one: one[0] % 2)]",
    ),
    Mutant(
        "tiers: Baseline policies stand in the Admin tier",
        DRAFTS,
        "Tier.BASELINE if policy.is_baseline else Tier.ADMIN",
        "Tier.ADMIN",
    ),
    Mutant(
        "tiers: what is not understood is left out",
        DRAFTS,
        "    if action is Action.ACCEPT:",
        "    if action is not None:",
    ),
    Mutant(
        "tiers: an Accept that is not understood accepts",
        DRAFTS,
        "return Draft(Peers(), NO_TRAFFIC, (), Action.ACCEPT, origin)",
        "return Draft(Peers(everyone=True), ALL_TRAFFIC, (), Action.ACCEPT, origin)",
    ),
    Mutant(
        "tiers: a Pass that is not understood passes",
        DRAFTS,
        "return Draft(Peers(everyone=True), ALL_TRAFFIC, (), Action.DENY, origin)",
        "return Draft(Peers(everyone=True), ALL_TRAFFIC, (), action or Action.DENY, origin)",
    ),
    Mutant(
        "tiers: a port name is one of TCP",
        DRAFTS,
        "[(choice.name, protocol) for protocol in Protocol]",
        "[(choice.name, Protocol.TCP)]",
    ),
    Mutant(
        "tiers: a protocol without a known port is every port",
        "objects/cluster_policy.py",
        "return PortChoice() if port.number is None else",
        "return PortChoice(protocol, 1, 65535) if port.number is None else",
    ),
    Mutant(
        "tiers: a range ends before its last port",
        "objects/cluster_policy.py",
        "port.range.start, port.range.end)",
        "port.range.start, port.range.end - 1)",
    ),
    Mutant(
        "tiers: v1alpha1 ranges are TCP",
        "objects/cluster_policy.py",
        "PortChoice(one.port_range.protocol,",
        'PortChoice("TCP",',
    ),
    Mutant(
        "tiers: a policy isolates by itself",
        DRAFTS,
        '    if not rules or not subject:\n        return None\n    origin = RuleOrigin(policy.kind, "", policy.name',
        '    if not subject:\n        return None\n    rules = (*rules, ClusterRule(action="Deny"))\n'
        '    origin = RuleOrigin(policy.kind, "", policy.name',
    ),
    Mutant(
        "tiers: host-network pods are chosen by namespace",
        "engine/selection.py",
        "self._in_spaces[namespaces] = PodSet.union(parts)",
        "self._in_spaces[namespaces] = PodSet.union(parts) | self.hosts",
    ),
    Mutant(
        "tiers: host-network pods are on no node",
        "engine/selection.py",
        "if not selector or snapshot.roster.at(one).node in names]",
        "if snapshot.roster.at(one).node in names]",
    ),
    Mutant(
        "tiers: nodes are those that Node objects declare",
        "engine/selection.py",
        "for one, name in known if not selector or name in names]",
        "for one, name in known if name in names]",
    ),
    Mutant(
        "tiers: only the first network counts",
        DRAFTS,
        "for network in peer.networks:",
        "for network in peer.networks[:1]:",
    ),
    Mutant(
        "tiers: a domain name stands for no address",
        "engine/verdict.py",
        "or (None if peers.names else False)",
        "or False",
    ),
    Mutant(
        "tiers: a domain name never stands for a host-network pod's address",
        "engine/verdict.py",
        "return found or None if peers.names and peer.host_network else found",
        "return found",
    ),
    Mutant(
        "tiers: a match that is not sure counts",
        "engine/verdict.py",
        "        if match:\n            return\n",
        "        if match or match is None:\n            return\n",
    ),
)


def run(mutant: Mutant, tree: Path) -> dict[str, bool]:
    """Which suites fail on the tree with the fault in it. Raises LookupError where the fault does not apply."""
    path = tree / "src/gatewright" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise LookupError(f"{mutant.name}: {mutant.file} has its text {text.count(mutant.old)} times; write it anew")
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        return {suite: fails(arguments, tree) for suite, arguments in SUITES.items()}
    finally:
        path.write_text(text)


def fails(arguments: list[str], tree: Path) -> bool:
    """Whether a suite fails on the tree (a run that hangs, or cannot even start, fails too)."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *OPTIONS, *arguments]
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main(names: list[str]) -> int:
    """Try every mutant, or those whose name has one of the words; print who noticed."""
    chosen = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        for part in ("src", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        if broken := [suite for suite, arguments in SUITES.items() if fails(arguments, tree)]:
            print(f"the suites must pass before anything is broken: {', '.join(broken)} fail")
            return 2
        survivors = 0
        for mutant in chosen:
            try:
                caught = run(mutant, tree)
            except LookupError as error:
                print(error.args[0])
                return 2
            survivors += not any(caught.values())
            by = ", ".join(suite for suite, noticed in caught.items() if noticed) or "NOBODY"
            print(f"{mutant.name}: noticed by {by}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} faults noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
