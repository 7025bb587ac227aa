"""The container runtime of a lab's node: pods as namespaces, containers as processes, and the kubelet's way to both.

`server.serve` is the node's one process that forks; `client.Runtime` is what the kubelet holds. docs/design/0080.
"""
