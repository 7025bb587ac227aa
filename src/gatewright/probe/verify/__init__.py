"""Proof by packets that a cluster enforces policies: small pods on its nodes, canary policies, connections all along.

`objects` says what is created, `paths` keeps what was heard, `judge` says what it means; `measure` does it and leaves
nothing behind.
"""
