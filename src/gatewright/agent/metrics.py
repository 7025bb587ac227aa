"""The agent's figures for Prometheus.

The two latencies that Kubernetes' own scale tests of network policies measure have the names that they have there; all
others begin with `gatewright_agent_`. Latencies from a creation timestamp are as exact as that timestamp: one second.
What can be asked for when somebody scrapes is not counted along the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatewright.agent.status import AgentStatus, State
from gatewright.kernel.counts import Counted

Drops = Mapping[tuple[str, str], Counted]
"""(direction, policies of a class, or the guard) to what was dropped."""

_CHANGE = (0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
_CREATION = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300)
_PREFIX = "gatewright_agent"


class Metrics:
    """The figures that the loop counts, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        self.policy_enforcement = histogram(
            "policy_enforcement_latency_policy_creation_seconds",
            "From the creation timestamp of a policy to its program in the kernel.",
            _CREATION,
        )
        self.pod_reachability = histogram(
            "pod_creation_reachability_latency_seconds",
            "From the creation timestamp of a pod of this node to its program in the kernel.",
            _CREATION,
        )
        self.change = histogram(
            f"{_PREFIX}_event_to_kernel_seconds",
            "From the arrival of a watch event to the commit that answers it, or to knowing that none is needed.",
            _CHANGE,
            "commit",
        )
        self.events = counter("watch_events", "Objects that were new, different or gone.", "kind")
        self.transactions = counter("transactions", "Transactions of the packet filter.", "what")
        self.errors = counter("errors", "What went wrong, by what it was about.", "what")
        self.repairs = counter("repairs", "Times the program was put back because another program had altered it.")
        self.flows = counter("flows", "Logged drops that were told.", "direction", "action")

    def describe(self, version: str, status: Callable[[], AgentStatus], drops: Callable[[], Drops]) -> None:
        """Have the figures that are asked for at every scrape, by the thread that answers it."""
        node = status().node
        Info(f"{_PREFIX}_build", "Version, and the node.", registry=self.registry).info(
            {"version": version, "node": node}
        )
        self.registry.register(_OnDemand(status, drops))


class _OnDemand(Collector):
    """What the agent's status and the kernel's own counters say when somebody scrapes."""

    def __init__(self, status: Callable[[], AgentStatus], drops: Callable[[], Drops]) -> None:
        self._status = status
        self._drops = drops

    def describe(self) -> Iterable[Metric]:
        """Nothing yet: collecting asks the kernel, which registering needs not."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every figure, as it is now."""
        status = self._status()
        held = status.programmed
        yield _gauge("elements", "Elements of all sets and maps in the kernel.", held.elements)
        yield _gauge("classes", "Classes of pods under the same rules.", held.classes)
        yield _gauge("pods", "Pods of this node that policies restrict.", held.pods)
        yield _gauge("policies", "Policies that restrict pods of this node.", held.policies)
        yield _gauge("in_step", "1 while the kernel holds what the cluster says.", status.state is State.IN_STEP)
        yield _gauge("behind_seconds", "How long the oldest change waits that is not in the kernel.", status.behind)
        text = "Connections ended because policy forbids them now."
        yield _counter("connections_ended", text, {(): held.connections_ended})
        yield _counter("flows_lost", "Logged drops that could not be read in time.", {(): status.flows_lost})
        if status.conntrack:
            yield _gauge("conntrack_entries", "Tracked connections.", status.conntrack.count)
            yield _gauge("conntrack_limit", "Connections that can be tracked.", status.conntrack.limit)
        yield from _watches(status)
        drops, labels = sorted(self._drops().items()), ("direction", "policies")
        yield _counter("dropped_packets", "Packets dropped.", {key: one.packets for key, one in drops}, labels)
        yield _counter("dropped_bytes", "Bytes dropped.", {key: one.bytes for key, one in drops}, labels)


def _watches(status: AgentStatus) -> Iterable[Metric]:
    connected = GaugeMetricFamily(f"{_PREFIX}_watch_connected", "1 while the kind is watched.", labels=["kind"])
    for one in status.watched:
        connected.add_metric([one.kind], float(one.connected))
    yield connected
    relists: dict[tuple[str, ...], int] = {(one.kind,): one.relists for one in status.watched}
    yield _counter("watch_relists", "Times a kind was listed anew.", relists, ("kind",))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=float(value))


def _counter(
    name: str, text: str, values: Mapping[tuple[str, ...], int], labels: tuple[str, ...] = ()
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
