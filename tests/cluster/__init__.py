"""Tests against a Kubernetes API: the lab's own, or the one that GATEWRIGHT_TEST_KUBECONFIG names."""
