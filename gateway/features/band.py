"""Which band a number falls into."""

from collections.abc import Mapping

from gateway.features.manifest import Band, OutputSpec


def band_of(output: OutputSpec, values: Mapping[str, float]) -> Band | None:
    """Return the first declared band that holds, None where none does. `values`: the outputs that apply, by name, this one among them."""
    value = values[output.name]
    for band in output.bands:
        if band.low <= value < band.high and all(values.get(name) == wanted for name, wanted in band.only_when.items()):
            return band
    return None
