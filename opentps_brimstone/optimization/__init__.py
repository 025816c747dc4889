"""From objectives to beamlet weights."""
