"""What an application needs, written as flows: reading it, planning policies for it, holding policies against it."""
