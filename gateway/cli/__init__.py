"""The command line: `gateway`, also `python -m gateway`. Exit 0: good; 1: found something; 2: could not run."""

from gateway.cli.main import main

__all__ = ["main"]
