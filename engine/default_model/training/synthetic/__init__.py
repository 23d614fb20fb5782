"""Conversations written by rules, for what no corpus holds."""
