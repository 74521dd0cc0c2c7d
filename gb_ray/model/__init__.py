"""Loading a backbone, and the exported directory that everything downstream opens."""
