"""A job service on an admission queue: see README.md beside this file."""
