"""Whole plannings: a phantom, a patient, the TG-119 suite."""
