"""Scenario files and how their steps become commands in the guest."""
