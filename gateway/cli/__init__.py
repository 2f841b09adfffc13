"""The command line: `gateway`, also `python -m gateway`. Exit 0: good; 1: found something; 2: could not run."""

import gc

gc.disable()  # nothing that an import makes is garbage: looking for it costs a tenth of the start

from gateway.cli.main import main  # noqa: E402 - after the line above, which is there for it

gc.enable()

__all__ = ["main"]
