"""`python -m gb_ray.cli`."""

import sys

from gb_ray.cli import main

sys.exit(main())
