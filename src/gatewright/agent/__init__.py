"""One node's agent: changes of the cluster in, transactions of the node's kernel out."""
