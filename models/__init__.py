"""Released models, one folder per release, and the builders of the shipped graphs. See README.md."""
