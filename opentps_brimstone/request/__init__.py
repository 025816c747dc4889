"""What is asked of a planning, as a TOML file."""
