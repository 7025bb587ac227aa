"""The wire of the Kubernetes API as plain functions and state machines: no sockets, no clock, no chance."""
