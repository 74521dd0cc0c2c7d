"""The stages of a build, in files that name them; build.py is their order."""
