"""Searching for good settings: many short trainings of any system, kept in one folder that processes share."""
