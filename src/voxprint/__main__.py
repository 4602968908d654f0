"""``python -m voxprint``."""

from voxprint.cli import main

main()
