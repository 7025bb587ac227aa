"""The first process of a lab: makes its namespaces, starts its components and keeps them running."""
