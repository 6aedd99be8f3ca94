"""What `make dist` and `make audit` run: the wheel with its bill of materials, and the search for known holes."""
