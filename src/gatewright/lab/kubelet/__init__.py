"""A node's kubelet as far as the API server calls it: programs in containers, their logs, the ports of pods."""
