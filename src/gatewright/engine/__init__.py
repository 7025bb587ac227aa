"""The meaning of policies: a pure function from objects to verdicts. No IO, no formats, no kernel."""
