"""A machine in memory, for tests."""

from tests.fakes.engine import Script, parse_project
from tests.fakes.host import FakeHost
from tests.fakes.machine import Machine
from tests.fakes.untaught import Untaught

__all__ = ["FakeHost", "Machine", "Script", "Untaught", "parse_project"]
