"""The measured matrix of a cluster: real connections from pods, each beside what the engine predicts.

`choose` says which connections, `standins` makes pods from which they are opened where existing ones shall not be used,
`inpod` is the program that opens them, `run` does it. A lab is measured by its own means instead.
"""
