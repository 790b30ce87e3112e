"""Readers of published data formats: every byte is checked, nothing is unpickled, errors name the file."""
