"""A recurrent language model of a text: run.py trains one, task.py steps through it."""
