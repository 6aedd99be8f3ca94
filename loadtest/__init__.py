"""Load tests with Locust: a crowd that behaves like people, a history of what it saw, and a verdict on it."""
