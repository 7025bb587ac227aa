"""What becomes of a packet that is denied: logged and counted as the options say, then dropped, or let through (audit).

Every place where a program drops ends in `denial`, so that no drop goes unseen. A log line's prefix is three words:
what was done, where it was denied, and why. *Where* is the class, which names the policies, or the direction alone for
the guards; *why* is `policy` (a NetworkPolicy isolates the pod), the stage of a cluster tier that denies (`admin0`,
`baseline1`), or the guard's name. Counters are named by the last two words. `read_prefix` is the inverse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewright.engine.model import Direction
from gatewright.kernel.names import log_name
from gatewright.kernel.options import Options
from gatewright.kernel.table import Chain, Count, Counter, Limit, Log, Rule, Verb, Verdict

LIMIT = "denials"
"""The limit that all log rules of a node share."""
POLICY = "policy"
"""Why: a NetworkPolicy isolates the pod, and no rule allows the packet."""
_DROPPED, _AUDITED = "drop", "audit"
DROP = Verdict(Verb.DROP)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a log line's prefix says. `where` is a class name as `names.log_name` shortens it, or a direction."""

    audit: bool
    where: str
    why: str

    @property
    def direction(self) -> Direction:
        """The side that denied."""
        return Direction.EGRESS if self.where.startswith(_word(Direction.EGRESS)) else Direction.INGRESS


def denial(options: Options, where: str, why: str, let_through: Verdict) -> tuple[Rule, ...]:
    """The rules at the end of a chain whose packets are denied. `let_through` is what an audit does with them."""
    rules: list[Rule] = []
    if options.log_group is not None:
        action = _AUDITED if options.audit else _DROPPED
        rules.append(Rule(None, Log(f"{action} {log_name(where)} {why}", options.log_group, LIMIT)))
    if options.counters:
        rules.append(Rule(None, Count(counter_name(where, why))))
    return (*rules, Rule(None, let_through if options.audit else DROP))


def counter_name(where: str, why: str) -> str:
    """The counter of a class and a reason."""
    return f"{where}/{why}"


def counters(chains: Iterable[Chain]) -> frozenset[Counter]:
    """The counters that the rules of these chains use."""
    return frozenset(
        Counter(rule.then.counter) for chain in chains for rule in chain.rules if isinstance(rule.then, Count)
    )


def limits(options: Options) -> tuple[Limit, ...]:
    """The limit that the log rules use."""
    return () if options.log_group is None else (Limit(LIMIT, options.log_rate, options.log_burst),)


def guard(direction: Direction) -> str:
    """Where a guard denies: on the side of the pod that the packet comes from, or goes to."""
    return _word(direction)


def read_prefix(text: str) -> Prefix | None:
    """What a prefix says, None when it is none of ours."""
    words = text.split(" ")
    if len(words) != 3 or words[0] not in (_DROPPED, _AUDITED):
        return None
    return Prefix(words[0] == _AUDITED, words[1], words[2])


def _word(direction: Direction) -> str:
    return direction.value.lower()
