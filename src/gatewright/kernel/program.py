"""From the compiled rules of a node's pods to the node's nftables program.

The program is a pure function of the compiled rules and of which endpoints are local: equal input gives an equal
program with equal names. Its shape:

- `forward` and `input` (hooks) both go to `police`: connections marked as revoked are ended; packets of connections
  that exist pass; IPv6 neighbour discovery passes; the source's address finds the chain of its egress class.
- An egress class accepts by going on to `destination`, where the destination's address finds the chain of its ingress
  class; an address that is in no map is no local isolated pod, and passes.
- Every class ends in its own default: drop where a NetworkPolicy isolates it, else what the cluster tiers leave open.

The node's own packets to its pods traverse neither hook, which is the exemption the API grants the kubelet. ARP is not
IP and never reaches an `inet` table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatewright.engine.addresses import FAMILIES
from gatewright.engine.model import Action, Direction, DirectionRules, Endpoint, Tier, TierRules
from gatewright.engine.model import Rule as PolicyRule
from gatewright.kernel.cover import At, Cover, Part, cover
from gatewright.kernel.denial import DROP, POLICY, counters, denial, limits
from gatewright.kernel.guards import (
    NO_GUARDS,
    Guards,
    destination_guard,
    guard_chains,
    guard_sets,
    link_guard,
    source_guard,
)
from gatewright.kernel.names import class_name, digest, inner_chain, policies_of
from gatewright.kernel.options import Options
from gatewright.kernel.table import (
    ADDRESS_FIELD,
    Chain,
    InSet,
    IsTcp,
    LookUp,
    Marked,
    NeighbourDiscovery,
    OtherProtocols,
    Program,
    Rule,
    Set,
    Side,
    Tracked,
    Verb,
    Verdict,
    VerdictMap,
)

POLICE, DESTINATION, REVOKED = "police", "destination", "revoked"
HOOKS = ("forward", "input")
ACCEPT, RETURN = Verdict(Verb.ACCEPT), Verdict(Verb.RETURN)
ACCEPT_OF = {Direction.INGRESS: ACCEPT, Direction.EGRESS: Verdict(Verb.GOTO, DESTINATION)}
"""What accepting means in a class: an egress class hands on to the destination's side."""
PEER_SIDE = {Direction.INGRESS: Side.SOURCE, Direction.EGRESS: Side.DESTINATION}
SUBJECT_SIDE = {Direction.INGRESS: Side.DESTINATION, Direction.EGRESS: Side.SOURCE}


class CompiledRules(Protocol):
    """What the program needs of `engine.compile.Compiled`."""

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position."""

    def rules(self, index: int, direction: Direction) -> DirectionRules:
        """What is in force for one endpoint; pods of one class share one instance."""


@dataclass(frozen=True, slots=True)
class PodClass:
    """Local pods whose packets of one direction meet the same rules."""

    name: str
    rules: DirectionRules
    pods: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of rules with one action, in order of evaluation. `name` is empty in the NetworkPolicy tier."""

    name: str
    cover: Cover
    action: Action


def node_program(
    compiled: CompiledRules, local: Iterable[int], *, options: Options | None = None, guards: Guards = NO_GUARDS
) -> Program:
    """The program of a node whose pods are the endpoints at the positions `local`.

    Endpoints on the host network, without addresses, or not restricted by anything, stand in no map. `guards` fills the
    sets of the guards that the options ask for.
    """
    options = options or Options()
    subjects = sorted(set(local))
    sets = list(guard_sets(options, guards))
    maps: list[VerdictMap] = []
    chains = list(frame(options))
    for direction in (Direction.EGRESS, Direction.INGRESS):
        classes = _classes(compiled, subjects, direction)
        for pod_class in classes:
            class_sets, class_chains = _class_parts(pod_class, compiled.at, options)
            sets += class_sets
            chains += class_chains
        maps += _maps(direction, classes)
    return Program.of(options.table, sets, maps, chains, counters(chains), limits(options))


def frame(options: Options) -> Iterator[Chain]:
    """The chains that do not depend on policies.

    A packet's source is checked first, since a packet with a borrowed address could belong to somebody's connection; an
    audit ends none, whatever was marked before it began.
    """
    for hook in HOOKS:
        yield Chain(hook, (Rule(None, Verdict(Verb.GOTO, POLICE)),), hook)
    egress = [Rule(None, _look_up(Direction.EGRESS, family)) for family in FAMILIES]
    ingress = [Rule(None, _look_up(Direction.INGRESS, family)) for family in FAMILIES]
    revoked = () if options.audit else (Rule(Marked(options.revoked_mask), Verdict(Verb.GOTO, REVOKED)),)
    before = (*link_guard(options), *revoked, Rule(Tracked(), ACCEPT), Rule(NeighbourDiscovery(), ACCEPT))
    yield Chain(POLICE, (*before, *source_guard(options), *egress, Rule(None, Verdict(Verb.GOTO, DESTINATION))))
    yield Chain(DESTINATION, (*destination_guard(options), *ingress, Rule(None, ACCEPT)))
    if not options.audit:
        yield Chain(REVOKED, (Rule(IsTcp(), Verdict(Verb.RESET)), Rule(None, DROP)))
    yield from guard_chains(options)


def _map_name(direction: Direction, family: int) -> str:
    return f"{direction.value.lower()}{family}"


def _look_up(direction: Direction, family: int) -> LookUp:
    return LookUp(_map_name(direction, family), ADDRESS_FIELD[family], SUBJECT_SIDE[direction])


def _maps(direction: Direction, classes: Sequence[PodClass]) -> Iterator[VerdictMap]:
    for family in FAMILIES:
        elements = frozenset(
            (int(address), pod_class.name)
            for pod_class in classes
            for pod in pod_class.pods
            if (address := pod.address(family)) is not None
        )
        yield VerdictMap(_map_name(direction, family), ADDRESS_FIELD[family], Verb.GOTO, elements)


def _classes(compiled: CompiledRules, local: Sequence[int], direction: Direction) -> list[PodClass]:
    """The local pods that something restricts, grouped by rules: by identity first, then by equal content."""
    groups: dict[tuple[TierRules, ...], list[Endpoint]] = {}
    by_identity: dict[int, list[Endpoint]] = {}
    rules_of: dict[tuple[TierRules, ...], DirectionRules] = {}
    for index in local:
        endpoint, rules = compiled.at(index), compiled.rules(index, direction)
        if not rules or endpoint.host_network or not endpoint.addresses:
            continue
        if id(rules) not in by_identity:
            rules_of.setdefault(rules.tiers, rules)
            by_identity[id(rules)] = groups.setdefault(rules.tiers, [])
        by_identity[id(rules)].append(endpoint)
    return _named(direction, [(rules_of[tiers], tuple(pods)) for tiers, pods in groups.items()])


def _named(direction: Direction, groups: list[tuple[DirectionRules, tuple[Endpoint, ...]]]) -> list[PodClass]:
    """Classes with their names. Classes of the same policies (named ports may differ) are told apart by a pod."""
    names = [class_name(direction, policies_of(rules)) for rules, _ in groups]
    result = []
    for name, (rules, pods) in zip(names, groups, strict=True):
        alone = names.count(name) == 1
        result.append(PodClass(name if alone else f"{name}/{digest(min(_key(pod) for pod in pods))}", rules, pods))
    return result


def _key(pod: Endpoint) -> str:
    return f"{pod.namespace}/{pod.name}/{pod.kind}"


def _class_parts(pod_class: PodClass, at: At, options: Options) -> tuple[list[Set], list[Chain]]:
    """The sets and chains of one class.

    Chains of their own have an Admin tier that can pass, and stages whose denials are more than a drop.
    """
    direction = pod_class.rules.direction
    accept = ACCEPT_OF[direction]
    sets: list[Set] = []
    chains: list[Chain] = []
    own: list[Rule] = []
    end: tuple[Rule, ...] = (Rule(None, accept),)
    for tier in pod_class.rules.tiers:
        if tier.tier is Tier.NETWORK_POLICY and not tier.policies:
            continue
        stages = _stages(tier, at)
        tier_rules: list[Rule] = []
        for stage in stages:
            denies = stage.action is Action.DENY and not options.plain_drop
            if denies:
                chains.append(_denial_chain(pod_class, stage, options))
            verdict = Verdict(Verb.GOTO, chains[-1].name) if denies else _verdict(direction, stage.action, tier.tier)
            stage_sets, stage_rules = _stage_parts(pod_class, stage, verdict)
            sets += stage_sets
            tier_rules += stage_rules
        if tier.tier is Tier.ADMIN and any(stage.action is Action.PASS for stage in stages):
            chain = inner_chain(pod_class.name, "admin")
            chains.append(Chain(chain, tuple(tier_rules)))
            tier_rules = [Rule(None, Verdict(Verb.JUMP, chain))]
        own += tier_rules
        if tier.tier is Tier.NETWORK_POLICY:
            end = denial(options, pod_class.name, POLICY, accept)
            break
    chains.append(Chain(pod_class.name, (*own, *end)))
    return sets, chains


def _denial_chain(pod_class: PodClass, stage: Stage, options: Options) -> Chain:
    """Where packets go that a cluster tier denies."""
    accept = ACCEPT_OF[pod_class.rules.direction]
    return Chain(inner_chain(pod_class.name, stage.name), denial(options, pod_class.name, stage.name, accept))


def _verdict(direction: Direction, action: Action, tier: Tier) -> Verdict:
    accept = ACCEPT_OF[direction]
    return {Action.ACCEPT: accept, Action.DENY: DROP, Action.PASS: RETURN if tier is Tier.ADMIN else accept}[action]


def _stages(tier: TierRules, at: At) -> list[Stage]:
    """The tier's rules in runs of one action. Within a run order does not matter, so a run is one union."""
    if tier.tier is Tier.NETWORK_POLICY:
        return [Stage("", cover(tier.rules, at), Action.ACCEPT)]
    runs: list[tuple[Action, list[PolicyRule]]] = []
    for rule in tier.rules:
        if not runs or runs[-1][0] is not rule.action:
            runs.append((rule.action, []))
        runs[-1][1].append(rule)
    prefix = tier.tier.name.lower()
    return [Stage(f"{prefix}{number}", cover(rules, at), action) for number, (action, rules) in enumerate(runs)]


def _stage_parts(pod_class: PodClass, stage: Stage, verdict: Verdict) -> tuple[list[Set], list[Rule]]:
    direction = pod_class.rules.direction
    prefix = f"{pod_class.name}/{stage.name}." if stage.name else f"{pod_class.name}/"
    if stage.cover.everything:
        return [], [Rule(None, verdict)]
    sets: list[Set] = []
    rules: list[Rule] = []
    for part in stage.cover.parts:
        part_set = _set(f"{prefix}{part.suffix}", part)
        sets.append(part_set)
        side = PEER_SIDE[direction] if part.family else None
        rules.append(Rule(InSet(part_set.name, part_set.fields, side), verdict))
    if stage.cover.other_protocols:
        rules.append(Rule(OtherProtocols(), verdict))
    return sets, rules


def _set(name: str, part: Part) -> Set:
    return Set(name, part.fields, part.interval, part.elements)
