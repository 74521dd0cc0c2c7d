"""An HTTP endpoint that follows an alias."""
