"""Who asked a selection what: when a change makes an answer another one, these have to be looked at again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gatewright.engine.layers import Layers, variant
from gatewright.engine.selection import Question, Selection
from gatewright.engine.snapshot import Step
from gatewright.objects.meta import Key

Questions = Collection[Question]
"""What one policy asks."""


class Asked:
    """A selection that keeps the answers somebody asked for. A value: `step` gives that of the next snapshot."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._asking: Layers[Question, frozenset[Key]] = Layers({})

    def step(self, step: Step) -> tuple[Asked, set[Key]]:
        """The same of the next snapshot, and who asked for what is no longer the same."""
        following = variant(self)
        following.selection, changed = self.selection.step(step)
        return following, {key for question in changed for key in self._asking.get(question, ())}

    def hearing(self, before: Mapping[Key, Questions], after: Mapping[Key, Questions]) -> Asked:
        """The same where these ask other questions than before. Answers go that nobody asks for any more."""
        gone = [(key, asked) for key, asked in before.items() if after.get(key) != asked]
        new = [(key, asked) for key, asked in after.items() if before.get(key) != asked]
        if not gone and not new:
            return self
        asking: dict[Question, set[Key]] = {}
        for there, whose in ((False, gone), (True, new)):
            for key, questions in whose:
                for question in questions:
                    if question not in asking:
                        asking[question] = set(self._asking.get(question, ()))
                    if there:
                        asking[question].add(key)
                    else:
                        asking[question].discard(key)
        following = variant(self)
        following._asking = self._asking.put({question: frozenset(keys) or None for question, keys in asking.items()})
        following.selection.forget([question for question, keys in asking.items() if not keys])
        return following
