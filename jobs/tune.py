#!/usr/bin/env python
"""Search a recipe's space and register the best model.

The arguments are those of `gb tune`; the last line printed is its JSON object.

    ray job submit --working-dir . -- python jobs/tune.py --recipe RECIPE [section.key=value ...]
"""

import argparse
import sys
from pathlib import Path

# A job's working directory is a copy of the project, which need not be installed on the cluster.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gb_ray.cli import main

parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("--recipe", required=True)
args, rest = parser.parse_known_args()
sys.exit(main(["tune", args.recipe, *rest, "--json"]))
