"""Lint on published applications: every finding was looked at, and is listed here because it is true.

docs/lint-corpus.md says why. What is not listed must not be found: a rule that is wrong on real input is a bug.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.findings.lint import lint
from gatewright.sources.files import read

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
SOCK_SHOP = "sock-shop/deploy/kubernetes"
BOUTIQUE = "online-boutique/kustomize"
EXPECTED: dict[tuple[str, ...], list[str]] = {
    (SOCK_SHOP,): [
        "GW101 manifests-policy/netpol-cart-access.yaml:8",
        "GW201 manifests-policy/netpol-cart-db-access.yaml:13",
        "GW201 manifests-policy/netpol-cortex-access.yaml:12",
        "GW002 manifests/00-sock-shop-ns.yaml:2",
    ],
    (f"{SOCK_SHOP}/manifests-policy",): ["GW903 netpol-default-deny.yaml:2"],
    ("kube-prometheus/manifests",): ["GW102 nodeExporter-networkPolicy.yaml:22"],
    ("argo-cd/manifests/install.yaml",): [],
    ("argo-cd/manifests/ha/install.yaml",): ["GW303 install.yaml:35672"],
    ("flux2/manifests/policies",): [],
    ("voting-app/k8s-specifications",): ["GW603 db-deployment.yaml:1"],
    (f"{BOUTIQUE}/base",): ["GW603 adservice.yaml:15"],
    (f"{BOUTIQUE}/base", f"{BOUTIQUE}/components/network-policies"): [],
    ("online-boutique/release/kubernetes-manifests.yaml",): ["GW603 kubernetes-manifests.yaml:21"],
}


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no ../shared/corpus here")
@pytest.mark.parametrize("paths", EXPECTED, ids=" ".join)
def test_findings_of_a_published_application(paths: tuple[str, ...]) -> None:
    report = lint(read([str(CORPUS / path) for path in paths], recursive=True))
    top = CORPUS / paths[0]
    base = top if top.is_dir() else top.parent
    found = [f"{one.id} {Path(one.place.file).relative_to(base)}:{one.place.line}" for one in report.findings]
    assert found == EXPECTED[paths]
