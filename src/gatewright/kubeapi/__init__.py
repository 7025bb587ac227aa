"""The wire of the Kubernetes API as plain functions and state machines: without sockets, clock or chance."""
