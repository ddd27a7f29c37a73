"""The scripts people and CI run."""
