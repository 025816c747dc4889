"""Prescriptions as TOML files."""
