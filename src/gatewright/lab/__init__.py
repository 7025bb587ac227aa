"""A cluster on one machine: a node and its pods as namespaces, Services, names, policies in force or not."""
