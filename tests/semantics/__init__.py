"""Named cases: what policies mean, one small cluster and its full table of answers at a time."""
