"""Where objects come from: files and directories of manifests, standard input."""
