"""linux.intelRdt where there is no resctrl; tests/unit/test_rdt.py has the rest, against a fake tree."""

from pathlib import Path
from typing import Any

import pytest
from harness import Box


@pytest.mark.beyond_runc("1.1 refuses it by other words")
@pytest.mark.parametrize("value", [{}, {"closID": "gold"}, {"enableMonitoring": True}])
def test_without_resctrl_the_key_is_an_error(box: Box, value: dict[str, Any]) -> None:
    if " - resctrl " in Path("/proc/self/mountinfo").read_text():
        pytest.skip("this machine has a resctrl file system, which the test would change")
    box.linux["intelRdt"] = value
    box.run().failed("/linux/intelRdt", "no resctrl file system is mounted")
    box.clean()
