"""The cluster's DNS: names worked out from Services, EndpointSlices and Namespaces, answered by a pod of its own."""
