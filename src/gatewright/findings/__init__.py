"""What is wrong or doubtful about policies: the findings, the rules that make them, and the mending of some."""
