"""The lab's Kubernetes-compatible endpoint: stock kubectl and client libraries work against it."""
