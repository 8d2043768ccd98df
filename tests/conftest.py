"""What all three rings share."""

from __future__ import annotations

from hypothesis import settings

# A shared runner can stall any example for a second: the rings' budgets bound the time, and a
# deadline for each example would only make failures that mean nothing.
settings.register_profile("hurdle", deadline=None)
settings.load_profile("hurdle")
