"""How many examples hypothesis draws for each property: few in every run, thousands in `make soak`.

No test fixes a number of its own. On CI (where `CI` is set) the same examples are drawn each time; elsewhere new ones,
and what failed is tried first in the next run.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# Its usual folder, `.hypothesis` in the root, would be collected by the next run.
set_hypothesis_home_dir(Path(__file__).parents[2] / ".cache" / "hypothesis")

# A shared machine may stall for a second: slow is not wrong here. A test that shares a fixture among its examples
# empties it.
_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.register_profile("here", _calm, max_examples=12)
settings.register_profile("ci", _calm, max_examples=12, derandomize=True, database=None)
settings.register_profile("soak", _calm, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "here"))
