"""Subscribers that turn events into a display, JSON lines, JUnit and HTML."""
