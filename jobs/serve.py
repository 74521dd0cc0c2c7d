#!/usr/bin/env python
"""Serve a model until the job is stopped.

The arguments are those of `gb serve`; the last line printed is its JSON object.

    ray job submit --working-dir . -- python jobs/serve.py ARGUMENTS
"""

import sys
from pathlib import Path

# A job's working directory is a copy of the project, which need not be installed on the cluster.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gb_ray.cli import main

sys.exit(main(["serve", *sys.argv[1:], "--json"]))
