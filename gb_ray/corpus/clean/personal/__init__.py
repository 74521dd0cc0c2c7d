"""Personal data, masked with typed placeholders."""
