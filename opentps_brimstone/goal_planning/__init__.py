"""From goals to objectives, in rounds."""
