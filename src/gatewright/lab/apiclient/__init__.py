"""The cluster as the lab's components see it: whole objects, followed, written and worked on, by ordinary clients."""
