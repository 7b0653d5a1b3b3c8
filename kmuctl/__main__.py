"""`python -m kmuctl` is `kmuctl`."""

from kmuctl.cli import main

main()
