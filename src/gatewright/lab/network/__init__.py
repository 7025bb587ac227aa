"""The network of a lab: nodes on a fabric, routed pods, a host outside, and routes that follow the Node objects."""
