"""`python -m sluiceway` is the console script `sluiceway`."""

from sluiceway.cli import main

main()
