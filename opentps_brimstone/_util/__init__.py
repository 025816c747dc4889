"""Helpers independent of radiotherapy."""
