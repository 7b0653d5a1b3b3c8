"""For all tests: properties are not judged by the clock of a busy machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("kmuctl", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kmuctl")
