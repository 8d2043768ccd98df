"""Crash campaigns: one guest run, thousands of judged crash states."""
