"""Which changes of a program a packet could meet half of, and so need another table to stand in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewright.kernel.change import LINKS, SOURCES, Change, MapChange, SetChange
from gatewright.kernel.table import Chain, Field, Set, Verb, VerdictMap

FIELDS = (Field.IPV4, Field.PROTOCOL, Field.PORT)
PORTS, RANGES = Set("ingress/a/ports4", FIELDS, False, frozenset()), Set("ingress/a/ranges4", FIELDS, True, frozenset())
OTHER_RANGES = Set("egress/b/ranges4", FIELDS, True, frozenset())
DENIED = Set("ingress/a/admin0.ranges4", FIELDS, True, frozenset())
LINK_SET = Set(LINKS, (Field.LINK,), False, frozenset())
SOURCE_SET = Set(f"{SOURCES}4", (Field.LINK, Field.IPV4), False, frozenset())
GUARDED = Set("guard/ranges4", (Field.IPV4,), True, frozenset())
MAP = VerdictMap("ingress4", Field.IPV4, Verb.GOTO, frozenset())
OTHER_MAP = replace(MAP, name="egress4")
ONE, OTHER = ((1, 1, 6, 6, 80, 90),), ((2, 2, 6, 6, 80, 90),)
THIRD, ALL = ((3, 3, 6, 6, 80, 90),), ((1, 3, 6, 6, 80, 90),)
HASHED = ((1, 6, 80),)
CASES = {
    "elements of hash sets, both ways": (Change(sets=(SetChange(PORTS, HASHED, ((2, 6, 80),)),)), False),
    "one set with ranges, both ways": (Change(sets=(SetChange(RANGES, ONE, OTHER),)), False),
    "more in several sets": (Change(sets=(SetChange(PORTS, (), HASHED), SetChange(RANGES, (), ONE))), False),
    "less in several sets": (Change(sets=(SetChange(PORTS, HASHED, ()), SetChange(RANGES, ONE, ()))), False),
    "from one set to another": (Change(sets=(SetChange(PORTS, HASHED, ()), SetChange(RANGES, (), ONE))), True),
    "from one side to the other": (Change(sets=(SetChange(RANGES, ONE, ()), SetChange(OTHER_RANGES, (), ONE))), True),
    "two stages of a tier": (Change(sets=(SetChange(RANGES, (), ONE), SetChange(DENIED, (), ONE))), True),
    "a pod that comes, and that its own class allows": (
        Change(sets=(SetChange(RANGES, (), ONE),), maps=(MapChange(MAP, (), ((1, "ingress/a"),)),)),
        False,
    ),
    "a pod that comes in both directions, and that its own class allows": (
        Change(
            sets=(SetChange(RANGES, (), ONE),),
            maps=(MapChange(MAP, (), ((1, "ingress/a"),)), MapChange(OTHER_MAP, (), ((1, "egress/b"),))),
        ),
        True,
    ),
    "a pod that changes its class": (
        Change(
            sets=(SetChange(RANGES, (), ONE),),
            maps=(MapChange(MAP, ((1, "ingress/c"),), ((1, "ingress/a"),)),),
        ),
        True,
    ),
    "a pod that comes, and that another class allows": (
        Change(sets=(SetChange(OTHER_RANGES, (), ONE),), maps=(MapChange(MAP, (), ((1, "ingress/a"),)),)),
        False,
    ),
    "a pod that goes, and that another class allowed": (
        Change(sets=(SetChange(OTHER_RANGES, ONE, ()),), maps=(MapChange(MAP, ((1, "ingress/a"),), ()),)),
        False,
    ),
    "a pod that comes, and that joins two ranges of another class": (
        Change(sets=(SetChange(OTHER_RANGES, (*ONE, *THIRD), ALL),), maps=(MapChange(MAP, (), ((1, "ingress/a"),)),)),
        False,
    ),
    "a pod that comes where ranges of another class lose something": (
        Change(sets=(SetChange(OTHER_RANGES, (*ONE, *THIRD), OTHER),), maps=(MapChange(MAP, (), ((1, "ingress/a"),)),)),
        True,
    ),
    "a pod that goes, and that divides a range of another class": (
        Change(sets=(SetChange(OTHER_RANGES, ALL, (*ONE, *THIRD)),), maps=(MapChange(MAP, ((1, "ingress/a"),), ()),)),
        False,
    ),
    "a pod that comes, while another class allows less": (
        Change(sets=(SetChange(OTHER_RANGES, ALL, ONE),), maps=(MapChange(MAP, (), ((1, "ingress/a"),)),)),
        False,
    ),
    "a pod that goes, while another class allows more": (
        Change(sets=(SetChange(OTHER_RANGES, ONE, ALL),), maps=(MapChange(MAP, ((1, "ingress/a"),), ()),)),
        False,
    ),
    "ranges that grow in one set and shrink in another": (
        Change(sets=(SetChange(RANGES, ONE, ALL), SetChange(OTHER_RANGES, ALL, ONE))),
        True,
    ),
    "a pod that goes, and that its own class allowed": (
        Change(sets=(SetChange(RANGES, ONE, ()),), maps=(MapChange(MAP, ((1, "ingress/a"),), ()),)),
        False,
    ),
    "a pod that goes in both directions, and that its own class allowed": (
        Change(
            sets=(SetChange(RANGES, ONE, ()),),
            maps=(MapChange(MAP, ((1, "ingress/a"),), ()), MapChange(OTHER_MAP, ((1, "egress/b"),), ())),
        ),
        True,
    ),
    "a pod that goes, while its own class allows more": (
        Change(sets=(SetChange(RANGES, (), ONE),), maps=(MapChange(MAP, ((1, "ingress/a"),), ()),)),
        True,
    ),
    "a pod that comes where another goes": (
        Change(
            sets=(SetChange(OTHER_RANGES, ONE, ()),),
            maps=(MapChange(MAP, ((2, "ingress/a"),), ((1, "ingress/a"),)),),
        ),
        True,
    ),
    "a range of a guard beside others": (
        Change(sets=(SetChange(GUARDED, (), ((1, 2),)), SetChange(OTHER_RANGES, (), ONE))),
        True,
    ),
    "a chain written anew": (Change(sets=(SetChange(RANGES, (), ONE),), written=(Chain("ingress/a", ()),)), True),
    "a new set with ranges, which is filled first": (Change(new_sets=(RANGES,), written=(Chain("a", ()),)), False),
    "nothing": (Change(), False),
}


@pytest.mark.parametrize(("change", "torn"), CASES.values(), ids=CASES.keys())
def test_a_change_is_torn_where_sets_with_ranges_change_beside_others(change: Change, torn: bool) -> None:
    assert change.is_torn is torn


def test_a_new_chain_has_its_rules_before_a_map_leads_to_it() -> None:
    """A packet that came before the commit and asks the map after it sees the entry, but of the chain no rule."""
    new, old = Chain("ingress/b", ()), Chain("ingress/a", ())
    comes = MapChange(MAP, (), ((1, "ingress/b"),))
    change = Change(new_sets=(RANGES,), maps=(comes,), written=(old, new), new_chains=frozenset({"ingress/b"}))
    first, last = change.in_steps()
    assert first == Change(new_sets=(RANGES,), written=(new,), new_chains=frozenset({"ingress/b"}))
    assert last == Change(maps=(comes,), written=(old,))


def test_a_pod_that_comes_finds_the_ranges_of_its_class() -> None:
    """They would be seen a moment after it is policed by them."""
    own, others = SetChange(RANGES, (), ONE), SetChange(OTHER_RANGES, (), ONE)
    comes = MapChange(MAP, (), ((1, "ingress/a"),))
    first, last = Change(sets=(others, own), maps=(comes,)).in_steps()
    assert first == Change(sets=(own,))
    assert last == Change(sets=(others,), maps=(comes,))


def test_a_pod_that_goes_is_allowed_no_more_before_it_is_no_longer_policed() -> None:
    """Else others would still allow for a moment what only its own rules forbade."""
    own, others = SetChange(PORTS, HASHED, ()), SetChange(OTHER_RANGES, ONE, ())
    gone = MapChange(MAP, ((1, "ingress/a"),), ())
    first, last = Change(sets=(own, others), maps=(gone,)).in_steps()
    assert first == Change(sets=(others,))
    assert last == Change(sets=(own,), maps=(gone,))
    (whole,) = Change(sets=(own,), maps=(gone,)).in_steps()
    assert whole == last


def test_the_addresses_of_a_new_link_come_before_it_is_checked() -> None:
    """A packet asks for its link and address first, then for its link: it may not find the second without the first."""
    links, other = SetChange(LINK_SET, ((3,),), ((4,),)), SetChange(PORTS, (), HASHED)
    first, last = Change(sets=(other, links, SetChange(SOURCE_SET, ((3, 1),), ((4, 2),)))).in_steps()
    assert first == Change(sets=(SetChange(SOURCE_SET, (), ((4, 2),)),))
    assert last == Change(sets=(other, links, SetChange(SOURCE_SET, ((3, 1),), ())))
    readdressed = Change(sets=(SetChange(SOURCE_SET, ((3, 1),), ((3, 2),)),))
    assert list(readdressed.in_steps()) == [readdressed]
