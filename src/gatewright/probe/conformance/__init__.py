"""The packet conformance suite: what every enforcer of NetworkPolicy is held to, case by case, on a real cluster.

`cases/` holds the cases as data, `reading` reads them, `expectation` is the plain rule that their tables are written
in, `table` lays a case's question over a cluster, `running` runs cases, `lab` is the cluster they run in.
"""
