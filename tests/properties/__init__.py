"""Laws: what must hold for every cluster, tried on random small ones."""
