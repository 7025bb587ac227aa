"""`python -m gatewright` is `gatewright`."""

from gatewright.cli.main import main

main()
