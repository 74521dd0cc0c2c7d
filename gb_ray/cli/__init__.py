"""The `gb` command: one thin function a verb.

Every verb prints for a person, or one JSON object on standard output with --json; all else goes to standard error.
Exit status: 0 done, 1 it failed, 2 the user's input is wrong, 3 a gate said no.
"""

from gb_ray.cli.command import main

__all__ = ["main"]
