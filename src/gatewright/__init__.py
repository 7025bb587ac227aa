"""Gatewright: what Kubernetes network policies allow, writing them, enforcing them, and proving it with packets."""
