#!/usr/bin/env python
"""Take a version through the gate.

The arguments are those of `gb promote`; the last line printed is its JSON object.

    ray job submit --working-dir . -- python jobs/promote.py ARGUMENTS
"""

import sys
from pathlib import Path

# A job's working directory is a copy of the project, which need not be installed on the cluster.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gb_ray.cli import main

sys.exit(main(["promote", *sys.argv[1:], "--json"]))
