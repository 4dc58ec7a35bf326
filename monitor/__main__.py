"""`python -m monitor` is `telltale`."""

from monitor.cli import main

main()
