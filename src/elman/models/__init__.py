"""The systems: one module each, built from the rooms below."""
