"""Collecting evidence: the API's answers to what detection asks for, and the CNI files of a node.

Detection is asked again and again until it wants nothing more; what it wants follows from what was seen, so the number
of requests is bounded by the DaemonSets that are solutions and the settings that their variants hang on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from gatewright.errors import GatewrightError, line
from gatewright.probe.doctor.answer import Answer
from gatewright.probe.doctor.evidence import NODES, CniFile, Evidence, Reply, read_cni
from gatewright.probe.doctor.judge import judge
from gatewright.probe.doctor.labs import lab_agents
from gatewright.probe.doctor.solutions import Knowledge, knowledge
from gatewright.probe.doctor.trees import name_of
from gatewright.sources.asking import Asker
from gatewright.sources.kubeconfig import ClusterUnavailable, Where
from gatewright.sources.progress import Progress, unheard

PATIENCE = 30.0
"""Seconds in which all requests have to be answered."""
ROUNDS, MOST = 6, 60
"""How often detection is asked what else it wants, and requests in all: a bound, not a plan."""
NO_API = (404, 502)
"""What something else than a Kubernetes API answers to a request for nodes."""
CNI_FOLDERS = ("etc/cni/net.d", "net.d", ".")
"""Where CNI configurations stand below a folder of a node's files."""
CNI_BINARIES = "opt/cni/bin"


class NodeFilesUnreadable(GatewrightError):
    """A folder of a node's files that was named and cannot be read."""


def examine(
    where: Where,
    *,
    patience: float = PATIENCE,
    node_files: Path | None = None,
    node: str = "",
    progress: Progress = unheard,
) -> Answer:
    """Ask a cluster, and judge it. Raises ClusterUnavailable, NodeFilesUnreadable.

    `node_files` is a folder with files of the node of this name, such as /: its CNI configuration is evidence.
    """
    with _asker(where, patience) as asker:

        def ask(path: str) -> Reply:
            progress(f"{asker.name}: asking for {path.partition('?')[0]}")
            told = asker.get(path)
            return Reply(told.status, told.tree, told.said)

        files = read_files(node_files) if node_files else ()
        binaries = read_binaries(node_files) if node_files else ()
        evidence = Evidence(cni_files=files, cni_binaries=binaries, files_node=node, agents=lab_agents(where))
        answer = gather(ask, evidence, knowledge(), asker.name)
        if evidence.get(NODES).status in NO_API:
            raise ClusterUnavailable(f"{asker.name}: not a Kubernetes API: it has no nodes; look at `server`")
        return answer


def gather(ask: Callable[[str], Reply], evidence: Evidence, known: Knowledge, cluster: str) -> Answer:
    """Ask for what detection wants until it wants nothing more, and give its answer."""
    answer = judge(evidence, known, cluster)
    for _ in range(ROUNDS):
        wanted = sorted(evidence.wanted)
        if not wanted:
            return _about(answer, evidence, known, cluster)
        for path in wanted:
            evidence.replies[path] = ask(path) if len(evidence.replies) < MOST else Reply(429, said="too many requests")
        evidence.wanted.clear()
        answer = judge(evidence, known, cluster)
    return answer


def _about(answer: Answer, evidence: Evidence, known: Knowledge, cluster: str) -> Answer:
    """The answer; of a cluster of one node, files without a node's name are that node's."""
    nodes = evidence.listed(NODES)
    if evidence.cni_files and not evidence.files_node and len(nodes) == 1:
        evidence.files_node = name_of(nodes[0])
        return judge(evidence, known, cluster)
    return answer


def read_files(folder: Path) -> tuple[CniFile, ...]:
    """The CNI configurations below a folder of a node's files. Raises NodeFilesUnreadable."""
    place = next((folder / one for one in CNI_FOLDERS if (folder / one).is_dir()), None)
    try:
        if place is None:
            raise FileNotFoundError(2, "no such folder")
        files = [(str(file), file.read_bytes()) for file in place.iterdir() if file.is_file()]
    except OSError as error:
        what = f"{folder}: {line(error.strerror or error)}; name a folder that holds etc/cni/net.d, and may be read"
        raise NodeFilesUnreadable(what) from error
    return read_cni(files)


def read_binaries(folder: Path) -> tuple[str, ...]:
    """The names of the CNI plugins below a folder of a node's files; none where there is no such folder."""
    place = folder / CNI_BINARIES
    try:
        return tuple(sorted(file.name for file in place.iterdir())) if place.is_dir() else ()
    except OSError as error:
        raise NodeFilesUnreadable(f"{place}: {line(error.strerror or error)}; the files have to be readable") from error


@contextlib.contextmanager
def _asker(where: Where, patience: float) -> Iterator[Asker]:
    asker = Asker(where, patience)
    try:
        yield asker
    finally:
        asker.close()
