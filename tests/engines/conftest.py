"""Makes the modules beside it importable; the fixtures are in fixtures.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite(
    *["cri", "engine", "machine", "podman", "record", "fixtures", "under_systemd", "footprint"]
)

from fixtures import *  # noqa: E402, F403
from load import *  # noqa: E402, F403
from under_systemd import *  # noqa: E402, F403
