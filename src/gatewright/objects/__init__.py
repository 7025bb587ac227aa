"""The Kubernetes objects the product reads, as frozen structs; decoding, validation and the place of every field."""
