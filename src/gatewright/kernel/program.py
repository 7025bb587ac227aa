"""The rules of a node's nftables program: its frame, and the chains of a class of pods.

The shape of the program:

- `forward` and `input` (hooks) both go to `police`, where it is asked for after a look at whether the source is the
  link's own. There connections marked as revoked are ended; packets of connections that exist pass; IPv6 neighbour
  discovery passes; the source's address finds the chain of its egress class.
- An egress class accepts by going on to `destination`, where the destination's address finds the chain of its ingress
  class; an address that is in no map is no local isolated pod, and passes.
- Every class ends in its own default: drop where a NetworkPolicy isolates it, else what the cluster tiers leave open.

The node's own packets to its pods traverse neither hook, which is the exemption the API grants the kubelet. ARP is not
IP and never reaches an `inet` table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from gatewright.engine.addresses import FAMILIES
from gatewright.engine.model import Action, Direction, DirectionRules, Tier
from gatewright.engine.model import Rule as PolicyRule
from gatewright.kernel.cover import PARTS, Part, Reach, reach
from gatewright.kernel.denial import DROP, POLICY, denial
from gatewright.kernel.guards import destination_guard, guard_chains, link_guard, source_guard
from gatewright.kernel.options import Options
from gatewright.kernel.table import (
    ADDRESS_FIELD,
    Chain,
    Element,
    InSet,
    IsTcp,
    LookUp,
    Marked,
    NeighbourDiscovery,
    OtherProtocols,
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


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of rules with one action, in order of evaluation: within it order does not matter, so it is one union.

    `name` is empty in the NetworkPolicy tier.
    """

    name: str
    tier: Tier
    action: Action
    reach: Reach

    @property
    def shape(self) -> tuple[object, ...]:
        """What rules depend on, beside the sets that there are."""
        return self.name, self.tier, self.action, self.reach.everything, self.reach.everyone.other

    @property
    def label(self) -> str:
        """Its name in log lines, and in the names of counters and chains."""
        return self.name.rstrip(".")


def frame(options: Options) -> Iterator[Chain]:
    """The chains that do not depend on policies.

    A packet's source is checked first, since a packet with a borrowed address could belong to somebody's connection. An
    audit ends no connection, whatever was marked before it began.
    """
    for hook in HOOKS:
        yield Chain(hook, (*link_guard(options, POLICE), Rule(None, Verdict(Verb.GOTO, POLICE))), hook)
    egress = [Rule(None, _look_up(Direction.EGRESS, family)) for family in FAMILIES]
    ingress = [Rule(None, _look_up(Direction.INGRESS, family)) for family in FAMILIES]
    revoked = () if options.audit else (Rule(Marked(options.revoked_mask), Verdict(Verb.GOTO, REVOKED)),)
    before = (*revoked, Rule(Tracked(), ACCEPT), Rule(NeighbourDiscovery(), ACCEPT))
    yield Chain(POLICE, (*before, *source_guard(options), *egress, Rule(None, Verdict(Verb.GOTO, DESTINATION))))
    yield Chain(DESTINATION, (*destination_guard(options), *ingress, Rule(None, ACCEPT)))
    if not options.audit:
        yield Chain(REVOKED, (Rule(IsTcp(), Verdict(Verb.RESET)), Rule(None, DROP)))
    yield from guard_chains(options)


def map_name(direction: Direction, family: int) -> str:
    """The map that finds the class of a pod by its address."""
    return f"{direction.value.lower()}{family}"


def verdict_map(direction: Direction, family: int, elements: Iterable[tuple[int, str]] = ()) -> VerdictMap:
    """That map, with these addresses and class names."""
    return VerdictMap(map_name(direction, family), ADDRESS_FIELD[family], Verb.GOTO, frozenset(elements))


def _look_up(direction: Direction, family: int) -> LookUp:
    return LookUp(map_name(direction, family), ADDRESS_FIELD[family], SUBJECT_SIDE[direction])


def stages(rules: DirectionRules) -> tuple[Stage, ...]:
    """The rules of a class in runs of one action. What follows a NetworkPolicy that isolates is never reached."""
    found: list[Stage] = []
    for tier in rules.tiers:
        if tier.tier is Tier.NETWORK_POLICY:
            if tier.policies:
                found.append(Stage("", tier.tier, Action.ACCEPT, reach(tier.rules)))
                break
            continue
        runs = groupby(tier.rules, key=lambda rule: rule.action)
        prefix = tier.tier.name.lower()
        found += [Stage(f"{prefix}{number}.", tier.tier, *run) for number, run in enumerate(_reaching(runs))]
    return tuple(found)


def _reaching(runs: Iterable[tuple[Action, Iterable[PolicyRule]]]) -> Iterator[tuple[Action, Reach]]:
    for action, rules in runs:
        yield action, reach(rules)


def set_of(class_name: str, stage: Stage, part: Part, elements: Iterable[Element] = ()) -> Set:
    """One set of a class, with these elements."""
    return Set(f"{class_name}/{stage.name}{part.suffix}", part.fields, part.interval, frozenset(elements))


def class_chains(
    name: str, direction: Direction, own: Sequence[tuple[Stage, Collection[Part]]], options: Options
) -> tuple[Chain, ...]:
    """The chains of one class, given which parts of each stage have elements.

    Chains of their own have an Admin tier that can pass, and stages whose denials are more than a drop.
    """
    chains = [] if options.plain_drop else [_denial_chain(name, direction, stage, options) for stage in _denying(own)]
    rules: list[Rule] = []
    for tier, group in groupby(own, key=lambda each: each[0].tier):
        staged = list(group)
        tier_rules = [rule for stage, parts in staged for rule in _stage_rules(name, direction, stage, parts, options)]
        if tier is Tier.ADMIN and any(stage.action is Action.PASS for stage, _ in staged):
            chain = f"{name}/admin"
            chains.append(Chain(chain, tuple(tier_rules)))
            tier_rules = [Rule(None, Verdict(Verb.JUMP, chain))]
        rules += tier_rules
    isolated = any(stage.tier is Tier.NETWORK_POLICY for stage, _ in own)
    chains.append(Chain(name, (*rules, *class_end(name, direction, isolated, options))))
    return tuple(chains)


def class_end(name: str, direction: Direction, isolated: bool, options: Options) -> tuple[Rule, ...]:
    """What becomes of traffic that no rule of a class decided."""
    accept = ACCEPT_OF[direction]
    return denial(options, name, POLICY, accept) if isolated else (Rule(None, accept),)


def _denying(own: Iterable[tuple[Stage, Collection[Part]]]) -> Iterator[Stage]:
    return (stage for stage, _ in own if stage.action is Action.DENY)


def _denial_chain(name: str, direction: Direction, stage: Stage, options: Options) -> Chain:
    """Where packets go that a cluster tier denies."""
    return Chain(_denial_name(name, stage), denial(options, name, stage.label, ACCEPT_OF[direction]))


def _denial_name(name: str, stage: Stage) -> str:
    return f"{name}/{stage.label}"


def _stage_verdict(name: str, direction: Direction, stage: Stage, options: Options) -> Verdict:
    if stage.action is Action.DENY:
        return DROP if options.plain_drop else Verdict(Verb.GOTO, _denial_name(name, stage))
    return RETURN if stage.action is Action.PASS and stage.tier is Tier.ADMIN else ACCEPT_OF[direction]


def _stage_rules(
    name: str, direction: Direction, stage: Stage, parts: Collection[Part], options: Options
) -> Iterator[Rule]:
    verdict = _stage_verdict(name, direction, stage, options)
    if stage.reach.everything:
        yield Rule(None, verdict)
        return
    for part in PARTS:
        if part in parts:
            side = PEER_SIDE[direction] if part.family else None
            yield Rule(InSet(set_of(name, stage, part).name, part.fields, side), verdict)
    if stage.reach.everyone.other:
        yield Rule(OtherProtocols(), verdict)
